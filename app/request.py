"""One request as the proxy sees it, and what it has come to so far."""

from __future__ import annotations

import asyncio
from typing import Protocol

from starlette.types import Scope

from app.balancing import RequestFacts
from app.client_watch import Connection
from app.headers import RawHeaders, field
from app.logs.access_log import AccessRecord
from app.routing import Backend, Route


class Place(Protocol):
    """What a request holds until its end."""

    def leave(self) -> None:
        """Give it back."""


class Request:
    """One request as the proxy sees it, whatever its protocol."""

    __slots__ = (
        "backend", "client", "client_left", "connection", "facts", "headers", "host",
        "method", "ours", "place", "record", "route", "scope", "started", "target", "task",
    )  # fmt: skip

    scope: Scope
    method: bytes
    target: bytes
    """Byte for byte; ASGI itself loses the difference of `/a` and `/a?`."""
    headers: RawHeaders
    host: bytes
    """The `Host` field as it came; empty if there was none."""
    client: str
    """The peer's address, empty for a unix socket."""
    ours: RawHeaders
    """The fields that we add for the backend: who the client is, and the request's id."""
    facts: RequestFacts
    record: AccessRecord
    route: Route | None
    backend: Backend | None
    """The one of the last attempt."""
    started: float
    """On `perf_counter`."""
    client_left: bool
    connection: Connection | None
    """What our own server lets us do with the client's connection."""
    task: asyncio.Task[None] | None
    place: Place | None
    """Its place among those that `maxInFlight` allows."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.method = scope.get("method", "GET").encode("ascii")
        self.headers = scope["headers"]
        self.host = field(self.headers, b"host") or b""
        peer = scope["client"]
        self.client = peer[0] if peer else ""
        self.client_left = False
        self.route = self.backend = self.place = None
        extensions = scope.get("extensions") or {}
        self.connection = connection = extensions.get("hipache.connection")
        self.task = connection.task if connection is not None else asyncio.current_task()
        self.target = extensions.get("hipache.target") or _target(scope)

    def leave(self) -> None:
        """The client has gone: end what runs for it."""
        self.client_left = True
        if self.task is not None:
            self.task.cancel()


def _target(scope: Scope) -> bytes:
    path: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    return path + b"?" + query if query else path
