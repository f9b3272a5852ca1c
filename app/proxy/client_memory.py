"""The bytes that a worker holds, counted for the address of the client."""

from __future__ import annotations

from starlette.types import Receive

from ..config.structs import ServerConfig
from ..health import IDEMPOTENT
from ..system.held_memory import BODIES, MESSAGES, HeldBytes, HeldMemory
from ..upstream.asker import client_names
from .request import Request
from .request_body import RequestBody


class ClientMemory:
    """What one worker holds of its clients' bodies and messages."""

    def __init__(self, config: ServerConfig) -> None:
        self.memory = HeldMemory(config.retry_memory)
        self._retry_buffer = config.retry_buffer
        self._client_of = client_names(config.trusted_proxies.value)

    def body(self, request: Request, receive: Receive) -> RequestBody:
        """The body of `request`: held only where a retry may follow on a byte that was sent.

        `may_be_refused` adds what depends on the backend.
        """
        hold = self._retry_buffer if request.method in IDEMPOTENT else 0
        kept = HeldBytes(self.memory, self._client_of(request), BODIES)
        return RequestBody(receive, request.exchange, kept, hold=hold)

    def may_be_refused(self, body: RequestBody) -> None:
        """The next backend may refuse the request unseen, so any method can be sent again."""
        body.hold = self._retry_buffer

    def messages(self, request: Request) -> HeldBytes:
        """What one leg of a WebSocket holds of messages."""
        return HeldBytes(self.memory, self._client_of(request), MESSAGES)
