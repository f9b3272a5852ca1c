"""What `/api/` answers, as OpenAPI 3.1 describes it."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _told(text: str, kind: str, *, null: bool = False) -> Schema:
    return {"type": [kind, "null"] if null else kind, "description": text}


_INT = {"type": "integer"}
_NUMBER = {"type": "number"}
_STRING = {"type": "string"}
_HISTOGRAM = {"$ref": "#/components/schemas/Histogram"}

_SCHEMAS: dict[str, Schema] = {
    "Histogram": _object(
        sum=_told("of all observations, seconds", "number"),
        bounds={"type": "array", "items": _NUMBER, "description": "upper ends, seconds"},
        counts={
            "type": "array", "items": _INT,
            "description": "of each bucket by itself; the last one has no bound",
        },
    ),
    "Worker": _object(
        worker=_told("its number, 0 where nobody numbers them", "integer"),
        pid=_INT,
        state={"type": "string", "enum": ["serving", "draining"]},
        started=_told("Unix time", "number"),
        memory=_told("resident, bytes", "integer"),
        loop_lag=_told("how late its event loop was at worst in the last second", "number"),
        requests=_told("that have ended", "integer"),
        in_flight=_INT,
        connections=_told("of clients", "integer"),
        web_sockets=_INT,
        store_contact_age=_told("seconds since the store gave a sign of life", "number"),
    ),
    "Frontend": _object(
        frontend=_told("its key; null for requests that no frontend matched", "string", null=True),
        others=_told("this is the sum of those that are not told by name", "boolean"),
        requests={
            "type": "object", "additionalProperties": _INT,
            "description": "that have ended, by status class and method class: `2xx read`",
        },
        bytes_in=_INT,
        bytes_out=_INT,
        duration=_HISTOGRAM,
    ),
    "Backend": {
        "type": "object",
        "required": ["frontend", "backend", "in_flight", "unanswered", "bad", "state"],
        "properties": {
            "frontend": _STRING,
            "backend": _told("its URL; null for those not told by name", "string", null=True),
            "in_flight": _told("at this URL, by all workers, at most a second ago", "integer"),
            "unanswered": _told("attempts that got no answer", "integer"),
            "bad": _told("answers that were 5xx or cut", "integer"),
            "time_to_head": {"anyOf": [_HISTOGRAM, {"type": "null"}]},
            "state": {
                "type": "string",
                "enum": [
                    "live", "dead", "on trial", "drained", "backup", "unusable", "unknown",
                ],
            },
            "weight": _NUMBER,
            "since": _told("of the mark, Unix time", "number", null=True),
            "until": _told("of the mark, Unix time", "number", null=True),
            "by": _told("who marked it", "string", null=True),
            "reason": _told("of the mark, or why it can not be used", "string", null=True),
            "failures": _told("in a row", "integer"),
        },
    },
    "Failure": _object(
        time=_told("when the request came, Unix time", "number"),
        frontend=_STRING,
        host=_told("as the client sent it, at most 100 bytes", "string"),
        backend=_told("of the last attempt", "string", null=True),
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
        "description": "What the proxy does now. Read only; the figures are of all workers.",
    },
    "security": [{"token": []}, {}],
    "paths": {
        "/metrics": _get(
            "All metrics, as Prometheus or OpenMetrics text.",
            _TEXT | {"application/openmetrics-text": {"schema": _STRING}},
        ),
        "/healthz": _get("This proxy lives.", _TEXT),
        "/readyz": _get(
            "It can route.",
            _TEXT,
            **{"503": {"description": "No store was reached since the start.", "content": _TEXT}},
        ),
        "/api/": _get("Where to go on.", _JSON),
        "/api/openapi.json": _get("This description.", _JSON),
        "/api/workers": _list_of("Worker", "Workers that live."),
        "/api/frontends": _list_of("Frontend", "Frontends that had requests."),
        "/api/backends": _list_of(
            "Backend",
            "Backends of the frontends that had requests.",
            {
                "name": "frontend",
                "in": "query",
                "required": False,
                "schema": _STRING,
                "description": "Only those of this one, whether it had requests or not.",
            },
        ),
        "/api/failures": _list_of("Failure", "The latest requests that failed, newest first."),
    },
    "components": {
        "schemas": _SCHEMAS,
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    },
}
