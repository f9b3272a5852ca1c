"""One request and its response, as ASGI sees them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from .half_close import CONTINUE
from .response import Message, Response

if TYPE_CHECKING:
    from .http_protocol import HttpProtocol
    from .request_head import RequestHead

App = Callable[..., Awaitable[None]]

logger = logging.getLogger(__name__)

UNREAD_LIMIT = 65536
"""Body bytes held for the application before reading pauses."""


class Direct(Protocol):
    """Serves an exchange that has no task."""

    def leave(self) -> None:
        """The client has gone."""

    def hand_over(self) -> None:
        """Give it a task, because somebody counts on those: the server is about to stop."""


class Exchange(Response):
    """The ASGI callables of one request.

    The application gets it as the scope extension `hipache.connection`, for what
    ASGI has no message for: `on_disconnect` tells at once that the client has
    gone, without a task that waits in `receive`; `cut` ends an answer that can
    not be completed so that the client sees it.
    """

    __slots__ = (
        "_body",
        "_buffered",
        "_on_disconnect",
        "_waiter",
        "asks_debug",
        "body_complete",
        "direct",
        "refused",
        "task",
    )

    def __init__(self, protocol: HttpProtocol, request: RequestHead) -> None:
        super().__init__(protocol, request)
        self.asks_debug = request.asks_debug
        self.body_complete = request.length == 0
        self.task: asyncio.Task[None] | None = None
        self.direct: Direct | None = None
        self.refused: tuple[int, str] | None = None
        self._body: list[bytes] = []
        self._buffered = 0  # bytes in _body; -1 once the application knows the end
        self._waiter: asyncio.Future[None] | None = None
        self._on_disconnect: Callable[[], object] | None = None

    def start(self, app: App, scope: Message) -> None:
        """Call the application in a task."""
        task = self.task = self.protocol.loop.create_task(self.run(app, scope))
        self.protocol.tasks.add(task)

    async def run(self, app: App, scope: Message) -> None:
        """Call the application; see to it that the client gets an answer or sees a cut."""
        try:
            await app(scope, self.receive, self.send)
            if not self.complete and not self.disconnected:
                logger.error("the application returned without completing its response")
        except asyncio.CancelledError:
            self._fail(503, "this server restarts and could not wait any longer")
            raise
        except Exception:
            if self.disconnected:
                logger.debug("the application ended with its client", exc_info=True)
            else:
                logger.exception("exception in the application")
        finally:
            assert self.task is not None
            self.protocol.tasks.discard(self.task)
            # It leads back to us: the request would wait for the cycle collector.
            self._on_disconnect = None
        self._fail()

    def _fail(self, status: int = 500, text: str = "internal error") -> None:
        """An answer that is not complete: `status` before its head, else a visible cut."""
        if self.disconnected or self.complete:
            return
        if self.started:
            self.cut()
        else:
            self.started = self.complete = True
            self.protocol.answer_and_close(status, text, to_head=self.to_head)

    def cut(self) -> None:
        """Break the answer off so that the client sees it; for the application it has left."""
        if self.disconnected or self.complete:
            return
        self._flush_head()
        self.disconnected = True
        self.protocol.cut(close_delimited=self.close_delimited)

    def on_disconnect(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the client goes away before its answer is complete."""
        if self.disconnected:
            callback()
        else:
            self._on_disconnect = callback

    # From the protocol.

    def feed(self, data: bytes) -> bool:
        """Body bytes came; whether reading should go on."""
        self._body.append(data)
        self._buffered += len(data)
        self.wake()
        return self._buffered <= UNREAD_LIMIT

    def end_body(self) -> None:
        self.body_complete = True
        self.wake()

    def disconnect(self) -> None:
        """The client has gone: wake everything that waits for it."""
        if self.disconnected or self.complete:
            return
        self.disconnected = True
        self._body.clear()
        self.wake()
        self.resume()
        direct, self.direct = self.direct, None
        if direct is not None:
            direct.leave()
        callback, self._on_disconnect = self._on_disconnect, None
        if callback is not None:
            callback()

    def wake(self) -> None:
        """Something that `receive` waits for has come."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def receive(self) -> Message:
        """ASGI's. After the end of the body it waits for the client to leave."""
        while not self.disconnected and not self.complete:
            if self._body or (self.body_complete and self._buffered >= 0):
                return self._next_part()
            if self._continue and not self.started:
                self._continue = False
                self.transport.write(CONTINUE)
            self._waiter = self.protocol.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return {"type": "http.disconnect"}

    def _next_part(self) -> Message:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body = []
        self._continue = False
        if self.body_complete:
            self._buffered = -1
        else:
            self._buffered = 0
            self.protocol.resume_reading()
        return {"type": "http.request", "body": body, "more_body": not self.body_complete}
