"""One request as the proxy sees it, and its progress so far."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeAlias
from urllib.parse import quote

from starlette.types import Scope

from ..balancing.balancer import RequestFacts
from ..errors import UpstreamError
from ..fields.headers import RawHeaders, field
from ..fields.passing import Passing
from ..health import Outcome
from ..logs.record import AccessRecord
from ..routing import Backend, Route
from ..server.exchange import Exchange
from ..server.peer import Peer, peer_in
from ..server.repetition import Repetition
from ..server.scope import EXCHANGE
from .request_body import RequestBody
from .whole_body import WholeBody

ClientBody: TypeAlias = RequestBody | WholeBody


class Slot(Protocol):
    """Held by a request until its end."""

    def leave(self) -> None:
        """Give it back."""


class FailedAttempt(NamedTuple):
    """An attempt at a backend that failed. Durations are seconds."""

    backend: str
    """The backend's URL."""
    outcome: Outcome
    cause: str
    """For people."""
    started: float
    """On `perf_counter`."""
    seconds_to_head: float | None
    """None if no head came."""
    seconds: float
    queue_time: float | None
    """Waited for a free connection; None if it did not wait."""


_PATH = "/:@!$&'()*+,;=-._~"
"""What a path may hold as it is (RFC 3986 §3.3)."""
_NONE: Mapping[str, Any] = MappingProxyType({})


class Request(RequestFacts):
    """One request as the proxy sees it, whatever its protocol."""

    __slots__ = (
        "backend", "backend_target", "body", "client_left", "exchange", "extensions",
        "failed_attempts", "fields", "headers", "host", "http_version", "id_field",
        "method", "ours", "passing", "peer", "queue_time", "record", "repetition", "route",
        "slot", "started", "target", "task", "unbegun", "web_socket",
    )  # fmt: skip

    method: bytes
    target: bytes
    """Byte for byte; ASGI by itself cannot tell `/a` from `/a?`."""
    backend_target: bytes
    """What a backend is asked for: the same, but for a prefix that ends here."""
    headers: RawHeaders
    """The client's fields as they go on; a guard or a hook may take some away."""
    body: ClientBody | None
    """None where it announces none, before it is served and once it has ended."""
    peer: Peer
    """The ends of the client's connection."""
    http_version: str
    """`1.1`, `1.0`, `2`."""
    web_socket: bool
    """The opening handshake of a WebSocket."""
    host: bytes
    """The `Host` field as it came, empty if there was none."""
    ours: tuple[tuple[bytes, bytes], ...]
    """The fields that we add for the backend: who the client is, and what an authorization
    service has said."""
    id_field: tuple[bytes, bytes]
    """One more: the request's id."""
    passing: Passing
    """Which of the client's fields a backend may get."""
    fields: RawHeaders
    """All that a backend gets; set by the decision that the request may pass."""
    record: AccessRecord
    route: Route | None
    backend: Backend | None
    """The one of the last attempt."""
    failed_attempts: tuple[FailedAttempt, ...]
    started: float
    """On `perf_counter`."""
    queue_time: float | None
    """Seconds that the present attempt has waited for a free connection."""
    client_left: bool
    exchange: Exchange | None
    """What our own server has for the request; None under another server."""
    task: asyncio.Task[None] | None
    """The task that serves it, None if it needs none."""
    unbegun: Callable[[object], None] | None
    """What its task calls in the end if it was cancelled before its first step."""
    slot: Slot | None
    """Its slot among those that `maxInFlight` allows."""
    repetition: Repetition | None
    """What the request has in common with others of the same client."""
    extensions: Mapping[str, Any]
    """What the server offers, in ASGI's terms."""

    def __init__(  # noqa: PLR0917 - keywords cost time on this path
        self,
        method: bytes,
        target: bytes,
        headers: RawHeaders,
        peer: Peer,
        http_version: str,
        exchange: Exchange | None,
        repetition: Repetition | None = None,
    ) -> None:
        self.method = method
        self.target = self.backend_target = target
        self.headers = self.sent = headers
        self.peer = peer
        self.http_version = http_version
        self.host = field(headers, b"host") or b""
        self.client = peer.address
        self.client_left = self.web_socket = False
        self.route = self.backend = self.task = self.slot = self.body = self.queue_time = None
        self.unbegun = None
        self.failed_attempts = ()
        self.exchange = exchange
        self.repetition = repetition
        self.extensions = _NONE

    @classmethod
    def of(cls, scope: Scope) -> Request:
        """The request in an ASGI scope; the present task serves it."""
        extensions = scope.get("extensions") or {}
        exchange = extensions.get(EXCHANGE)
        request = cls(
            scope.get("method", "GET").encode("ascii"),
            extensions.get("hipache.target") or _target(scope),
            scope["headers"] if exchange is not None else _fields(scope.get("headers") or ()),
            peer_in(scope),
            scope.get("http_version") or "1.1",
            exchange,
        )
        request.extensions = extensions
        request.web_socket = scope["type"] == "websocket"
        request.task = exchange.task if exchange is not None else asyncio.current_task()
        return request

    # -- asker.Asker

    def awaited(self) -> object | None:
        """What the client has yet to take or to send before the request can go on."""
        awaited = None if self.exchange is None else self.exchange.awaited()
        return None if awaited is None else (self.record.bytes_out, awaited)

    def give_up(self, error: UpstreamError) -> None:
        """Wait for the client no longer, but fail with `error`."""
        if self.exchange is not None:
            self.exchange.stop_waiting(error)

    def waited(self, seconds: float) -> None:
        """It has waited so long for a free connection."""
        self.queue_time = seconds

    def client_gone(self) -> None:
        """The client has gone: cancel the request's task."""
        self.client_left = True
        if self.task is not None:
            self.task.cancel()


def _fields(headers: Iterable[Iterable[bytes]]) -> RawHeaders:
    """The fields as another server gives them: any iterables of bytes."""
    return [(bytes(name).lower(), bytes(value)) for name, value in headers]


def _target(scope: Scope) -> bytes:
    """The target, from what the server tells of it: ASGI makes `raw_path` optional."""
    path: bytes = scope.get("raw_path") or quote(scope["path"], safe=_PATH).encode("ascii")
    query: bytes = scope.get("query_string") or b""
    return path + b"?" + query if query else path
