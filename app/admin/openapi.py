"""The OpenAPI 3.1 description of `/api/`."""

from __future__ import annotations

from .openapi_routes import ROUTE_PATHS, ROUTE_SCHEMAS, Schema


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _described(text: str, kind: str, *, null: bool = False) -> Schema:
    return {"type": [kind, "null"] if null else kind, "description": text}


_INT = {"type": "integer"}
_NUMBER = {"type": "number"}
_STRING = {"type": "string"}
_HISTOGRAM = {"$ref": "#/components/schemas/Histogram"}

_SCHEMAS: dict[str, Schema] = {
    "Histogram": _object(
        sum=_described("the sum of all observations, seconds", "number"),
        bounds={"type": "array", "items": _NUMBER, "description": "upper bounds, seconds"},
        counts={
            "type": "array", "items": _INT,
            "description": "one count per bucket, not cumulative; the last bucket has no bound",
        },
    ),
    "Worker": _object(
        worker=_described("its number under `hipache serve`, else 0", "integer"),
        pid=_INT,
        state={"type": "string", "enum": ["serving", "draining"]},
        started=_described("Unix time", "number"),
        memory=_described("resident memory, bytes", "integer"),
        loop_lag=_described("longest delay of its event loop in the last second", "number"),
        requests=_described("requests that have ended", "integer"),
        in_flight=_INT,
        connections=_described("open connections of clients", "integer"),
        web_sockets=_INT,
        store_contact_age=_described("seconds since the store last answered", "number"),
    ),
    "Frontend": _object(
        frontend=_described(
            "its key; null for requests that no frontend matched", "string", null=True
        ),
        others=_described("whether this is the sum of frontends not listed by name", "boolean"),
        requests={
            "type": "object", "additionalProperties": _INT,
            "description": "requests that have ended, by status and method class: `2xx read`",
        },
        bytes_in=_INT,
        bytes_out=_INT,
        duration=_HISTOGRAM,
    ),
    "Backend": {
        "type": "object",
        "required": ["frontend", "backend", "in_flight", "unanswered", "bad", "evidence", "state"],
        "properties": {
            "frontend": _STRING,
            "backend": _described(
                "its URL; null for the sum of backends not listed by name", "string", null=True
            ),
            "in_flight": _described(
                "requests in flight to this URL, of all workers, up to a second old", "integer"
            ),
            "unanswered": _described("attempts that got no answer", "integer"),
            "bad": _described("answers that were 5xx or cut short", "integer"),
            "evidence": _described("those of both that are evidence against it", "integer"),
            "time_to_head": {"anyOf": [_HISTOGRAM, {"type": "null"}]},
            "state": {
                "type": "string",
                "enum": [
                    "live", "dead", "on trial", "drained", "backup", "unusable", "unknown",
                ],
            },
            "weight": _NUMBER,
            "since": _described("start of the mark, Unix time", "number", null=True),
            "until": _described("end of the mark, Unix time", "number", null=True),
            "by": _described("who set the mark", "string", null=True),
            "reason": _described(
                "cause of the mark or evidence, or why the backend cannot be used",
                "string",
                null=True,
            ),
            "failures": _described("failures in a row", "integer"),
        },
    },
    "Failure": _object(
        time=_described("when the request arrived, Unix time", "number"),
        frontend=_STRING,
        host=_described("as the client sent it, at most 100 bytes", "string"),
        backend=_described("backend of the last attempt", "string", null=True),
        status=_INT,
        reason=_STRING,
        attempts=_INT,
        request_id=_STRING,
    ),
}  # fmt: skip


def _list_of(name: str, summary: str, *parameters: Schema) -> Schema:
    items = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}
    return _get(summary, {"application/json": {"schema": items}}, *parameters)


def _get(summary: str, content: Schema, *parameters: Schema, **more: Schema) -> Schema:
    answers = {"200": {"description": summary, "content": content}, **more}
    return {"get": {"summary": summary, "parameters": list(parameters), "responses": answers}}


_TEXT = {"text/plain": {"schema": _STRING}}
_JSON = {"application/json": {"schema": {"type": "object"}}}

DESCRIPTION: Schema = {
    "openapi": "3.1.0",
    "info": {
        "title": "Hipache",
        "version": "1",
        "description": "The state of the proxy, over all workers, and the routes in its store.",
    },
    "security": [{"token": []}, {}],
    "paths": {
        "/metrics": _get(
            "All metrics, as Prometheus or OpenMetrics text.",
            _TEXT | {"application/openmetrics-text": {"schema": _STRING}},
        ),
        "/healthz": _get("The worker runs.", _TEXT),
        "/readyz": _get(
            "Requests can be routed.",
            _TEXT,
            **{
                "503": {
                    "description": "No store has been reached since the start.",
                    "content": _TEXT,
                }
            },
        ),
        "/api/": _get("The store whose routes are served, and the paths of this API.", _JSON),
        "/api/openapi.json": _get("This description.", _JSON),
        "/api/workers": _list_of("Worker", "Workers that run."),
        "/api/frontends": _list_of("Frontend", "Frontends that had requests."),
        "/api/backends": _list_of(
            "Backend",
            "Backends of the frontends that had requests.",
            {
                "name": "frontend",
                "in": "query",
                "required": False,
                "schema": _STRING,
                "description": "Only the backends of this frontend, even if it had no requests.",
            },
        ),
        "/api/failures": _list_of("Failure", "The latest requests that failed, newest first."),
        **ROUTE_PATHS,
    },
    "components": {
        "schemas": _SCHEMAS | ROUTE_SCHEMAS,
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    },
}
