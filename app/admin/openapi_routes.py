"""The OpenAPI description of `/api/routes`."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

_TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_ROUTE = {"$ref": "#/components/schemas/Route"}

ROUTE_SCHEMAS: dict[str, Schema] = {
    "Route": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "id": {"type": "string", "description": "its name in the log; default: the key"},
            "backends": {"type": "array", "items": {"type": "string"}},
            "options": _TEXTS | {"description": "the fields of `options:<key>`"},
            "healthcheck": _TEXTS | {"description": "`path`, `status`, `body`, `grpc`"},
            "ttl": {"type": "integer", "description": "seconds until it disappears; Redis only"},
        },
    },
    "Routes": {
        "type": "object",
        "required": ["routes", "next"],
        "properties": {
            "routes": {"type": "object", "additionalProperties": _ROUTE},
            "next": {
                "type": ["string", "null"],
                "description": "`after` of the next page; null on the last one",
            },
        },
    },
    "Changes": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["at", "by", "frontend"],
            "properties": {
                "at": {"type": "number", "description": "Unix time"},
                "by": {"type": "string", "description": "who changed it"},
                "frontend": {"type": "string"},
                "before": {"oneOf": [_ROUTE, {"type": "null"}]},
                "after": {"oneOf": [_ROUTE, {"type": "null"}]},
            },
            "description": "without `before` and `after` where they were too long to be kept",
        },
    },
    "Problem": {
        "type": "object",
        "required": ["error", "where"],
        "properties": {
            "error": {"type": "string", "description": "what is wrong"},
            "where": {
                "type": "string",
                "description": "`path`, `query NAME`, `header NAME`, `method`, `body` or `store`",
            },
        },
    },
}

_PROBLEMS = {
    "400": "The path, the query or the JSON cannot be read.",
    "401": "The token is missing.",
    "403": "`admin.write` is false.",
    "404": "There is no such frontend.",
    "412": "The frontend is not as `If-Match` or `If-None-Match` expects it.",
    "413": "The body is too long.",
    "415": "The body is not JSON.",
    "422": "The frontend cannot be used as it is described.",
    "501": "This kind of store cannot be changed.",
    "503": "The store cannot be reached or written.",
    "504": "It is changed, but some worker did not have it in time.",
}


def _json(name: str) -> Schema:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _answer(text: str) -> Schema:
    headers = {"ETag": {"schema": {"type": "string"}}}
    return {"description": text, "headers": headers, "content": _json("Route")}


def _problems(*statuses: str) -> Schema:
    return {
        status: {"description": _PROBLEMS[status], "content": _json("Problem")}
        for status in statuses
        if status != "401"
    } | {"401": {"description": _PROBLEMS["401"]}}


def _parameter(place: str, name: str, text: str, kind: str = "string") -> Schema:
    return {
        "name": name, "in": place, "required": place == "path", "description": text,
        "schema": {"type": kind},
    }  # fmt: skip


_CONDITIONS = [
    _parameter("header", "If-Match", "the tag that the frontend must have"),
    _parameter("header", "If-None-Match", "`*`: only if there is no such frontend"),
    _parameter("query", "wait", "1: answer when every running worker has the change, in 10 s"),
]


def _body(kind: str) -> Schema:
    return {"required": True, "content": {kind: {"schema": _ROUTE}}}


def _one(*place: Schema) -> Schema:
    return {
        "parameters": list(place),
        "get": {
            "summary": "One frontend.",
            "responses": {
                "200": _answer("The frontend. Hashes of passwords show only with `admin.write`."),
                "304": {"description": "It is as `If-None-Match` says."},
                **_problems("400", "404", "501", "503"),
            },
        },
        "put": {
            "summary": "Create or replace a frontend.",
            "parameters": _CONDITIONS,
            "requestBody": _body("application/json"),
            "responses": {
                "200": _answer("It is replaced."),
                "201": _answer("It is created."),
                **_problems("400", "403", "412", "413", "415", "422", "501", "503", "504"),
            },
        },
        "patch": {
            "summary": "Change what the body names; null removes (RFC 7396).",
            "parameters": _CONDITIONS,
            "requestBody": _body("application/merge-patch+json"),
            "responses": {
                "200": _answer("It is changed."),
                **_problems("400", "403", "404", "412", "413", "415", "422", "501", "503", "504"),
            },
        },
        "delete": {
            "summary": "Remove a frontend. Options that its prefixes inherit stay.",
            "parameters": _CONDITIONS,
            "responses": {
                "204": {"description": "It is removed."},
                **_problems("400", "403", "404", "412", "501", "503", "504"),
            },
        },
    }


_HOST = _parameter("path", "host", "a host, `*.domain` or `*`")

ROUTE_PATHS: dict[str, Schema] = {
    "/api/routes": {
        "get": {
            "summary": "A page of the frontends in the store, in the order of their keys.",
            "parameters": [
                _parameter("query", "prefix", "only keys that begin with this"),
                _parameter("query", "after", "only keys behind this one: `next` of the last page"),
                _parameter("query", "limit", "at most so many (100), up to 1,000", "integer"),
            ],
            "responses": {
                "200": {"description": "Frontends by key.", "content": _json("Routes")},
                **_problems("400", "501", "503"),
            },
        },
    },
    "/api/journal": {
        "get": {
            "summary": "The last changes of frontends through Hipache, the newest first.",
            "parameters": [
                _parameter("query", "frontend", "only of this one, and of its prefixes"),
                _parameter("query", "limit", "at most so many (100), up to 1,000", "integer"),
            ],
            "responses": {
                "200": {"description": "Changes.", "content": _json("Changes")},
                **_problems("400", "501", "503"),
            },
        },
    },
    "/api/routes/{host}": _one(_HOST),
    "/api/routes/{host}/{prefix}": _one(
        _HOST,
        _parameter("path", "prefix", "as in the key: slashes stay, nothing is decoded"),
    ),
}
