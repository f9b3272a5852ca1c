"""The bytes that a worker holds, counted for the address of the client."""

from __future__ import annotations

from functools import partial

from starlette.types import Receive

from ..config.structs import ServerConfig
from ..frontends.backends import HTTP2
from ..health import IDEMPOTENT
from ..routing import Backend
from ..server.exchange import Exchange
from ..system.held_memory import BODIES, MESSAGES, HeldBytes, HeldMemory
from ..upstream.asker import client_names
from .request import ClientBody, Request
from .request_body import RequestBody
from .trailer_passing import trailers_up
from .whole_body import PART, SMALL, WholeBody


class ClientMemory:
    """What one worker holds of its clients' bodies and messages."""

    def __init__(self, config: ServerConfig, memory: HeldMemory) -> None:
        self.memory = memory
        self._retry_buffer = config.retry_buffer
        self.small = min(SMALL, memory.limit // PART) if memory.limit else SMALL
        """Bytes of a body that does not count, where all of it is here at once."""
        self._client_of = client_names(config.trusted_proxies.value)

    def body(self, request: Request, receive: Receive) -> RequestBody:
        """The body of `request`: held only where a retry may follow on a byte that was sent.

        `before_attempt` adds what depends on the backend.
        """
        hold = self._retry_buffer if request.method in IDEMPOTENT else 0
        body = RequestBody(receive, request.exchange, partial(self._bodies, request), hold=hold)
        body.trailers_of = partial(trailers_up, request)
        return body

    def _bodies(self, request: Request) -> HeldBytes:
        return HeldBytes(self.memory, partial(self._client_of, request), BODIES)

    def arriving_body(self, request: Request, exchange: Exchange) -> ClientBody:
        """The same, where our own server has what came of it; a small whole one costs less."""
        if not exchange.body_complete or exchange.unread > self.small:
            return self.body(request, exchange.receive)
        hold = self._retry_buffer if request.method in IDEMPOTENT else 0
        data = b"".join(exchange.take_body())
        return WholeBody(data, trailers_up(request) if exchange.trailers else (), hold=hold)

    def before_attempt(self, body: ClientBody, backend: Backend) -> None:
        """It goes to `backend` next. One that speaks HTTP/2 may refuse the request unseen, so any
        method can be sent again."""
        if backend.scheme in HTTP2:
            body.hold = self._retry_buffer

    def messages(self, request: Request) -> HeldBytes:
        """What one leg of a WebSocket holds of messages."""
        return HeldBytes(self.memory, partial(self._client_of, request), MESSAGES)
