"""One request and its answer, as ASGI sees them, over any version of HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.utils import ClientDisconnected

from .arriving_body import ArrivingBody

if TYPE_CHECKING:
    from ..fields.trailers import Trailers
    from .direct import Direct
    from .peer import Peer
    from .request_head import RequestHead
    from .stream import Stream

App = Callable[..., Awaitable[None]]
Message = MutableMapping[str, Any]
_NO_SCOPE: Message = {}  # one for all: it stays beside a stream that is held open

logger = logging.getLogger(__name__)


class Exchange(ArrivingBody):
    """The ASGI callables of one request. Its answer goes to `stream`.

    The application gets it as a scope extension, for what ASGI has no message for.
    """

    __slots__ = (
        "_body_sent", "_drained", "_on_disconnect", "_trailers", "asks_debug", "direct", "peer",
        "refused", "task", "tasks",
    )  # fmt: skip

    def __init__(
        self, stream: Stream, peer: Peer, request: RequestHead, tasks: set[asyncio.Task[None]]
    ) -> None:
        self.stream = stream
        self.peer = peer
        self.asks_debug = request.asks_debug
        self.body_complete = request.length == 0
        self.disconnected = self._body_sent = False  # of the answer only trailers are to come
        self.task: asyncio.Task[None] | None = None
        self.direct: Direct | None = None
        self.refused: tuple[int, str] | None = None
        self.trailers: Trailers = ()  # behind the request's body
        self.hold: Callable[[int], bool] | None = None  # asked whether so many bytes may wait
        self.tasks = tasks  # those that the server waits for when it drains
        self._body: list[bytes] = []
        self.unread = 0  # bytes of the body that have come, not taken; -1 once the end was
        self._trailers: Trailers | None = None  # to come, behind the answer's body
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._on_disconnect: Callable[[], object] | None = None

    def start(self, app: App, scope: Message = _NO_SCOPE) -> None:
        """Call the application in a task; the proxy's own needs no scope."""
        task = self.task = asyncio.get_running_loop().create_task(self.run(app, scope))
        self.tasks.add(task)

    async def run(self, app: App, scope: Message) -> None:
        """Call the application. In the end the client has got an answer or sees a cut."""
        try:
            running = app(scope, self.receive, self.send)
            del app, scope  # they may be much beside a stream that is held open
            await running
            if self.stream.complete or self.disconnected:
                return
            if self._body_sent:
                self.stream.send_trailers(())  # some middleware keeps them for itself
            else:
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
            self.tasks.discard(self.task)
            # It refers to us: without this the cycle collector would have to find the request.
            self._on_disconnect = None
        self._fail()

    def _fail(self, status: int = 500, text: str = "internal error") -> None:
        """End an incomplete answer: with `status` if it has no head, else with a visible cut."""
        if self.stream.started:
            self.cut()
        elif not self.disconnected:
            self.stream.refuse(status, text)

    async def send(self, message: Message) -> None:
        """ASGI's. Raises ClientDisconnected, an OSError, once the client has gone.

        `reason` (bytes) is ours, not ASGI's: a backend's own phrase.
        """
        if self.disconnected:
            raise ClientDisconnected
        stream, kind = self.stream, message["type"]
        if kind == "http.response.body":
            if not stream.started or stream.complete or self._body_sent:
                raise RuntimeError("http.response.body outside of a response")
            more = message.get("more_body", False)
            if self._trailers is not None:
                self._body_sent, more = not more, True
            stream.send_body(message.get("body", b""), more)
            if not stream.complete and stream.full:
                await self._drain()
        elif kind == "http.response.start":
            if stream.started:
                raise RuntimeError("a second http.response.start")
            if message.get("trailers"):
                self._trailers = ()
            stream.send_head(message["status"], message.get("headers", ()), message.get("reason"))
        elif kind == "http.response.trailers" and self._body_sent and not stream.complete:
            assert self._trailers is not None
            self._trailers = (*self._trailers, *message.get("headers", ()))
            if not message.get("more_trailers", False):
                stream.send_trailers(self._trailers)
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r}")

    async def _drain(self) -> None:
        self._drained = asyncio.get_running_loop().create_future()
        try:
            await self._drained
        finally:
            self._drained = None
        if self.disconnected:
            raise ClientDisconnected

    async def receive(self) -> Message:
        """ASGI's. After the end of the body it waits until the client has gone."""
        if not await self.body_came():
            return {"type": "http.disconnect"}
        body = b"".join(self.take_body())
        return {"type": "http.request", "body": body, "more_body": not self.body_complete}

    def cut(self) -> None:
        """Break the answer off so that the client sees it; the application sees a disconnect."""
        if not (self.disconnected or self.stream.complete):
            self.disconnected = True
            self.stream.cut()

    def awaited(self) -> object | None:
        """What the client has yet to take or to send, if anything; equal while it does nothing."""
        if self._drained is not None:
            return self.stream.untaken(), self._waiter
        return None if self.body_complete else self._waiter

    def stop_waiting(self, error: Exception) -> None:
        """If `send` waits for the client to catch up, it raises `error`."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_exception(error)

    def on_disconnect(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the client goes away before its answer is complete."""
        if self.disconnected:
            callback()
        else:
            self._on_disconnect = callback

    # For the protocol: what the client does.

    def refuse(self, status: int, text: str) -> None:
        """The body is not legal: answer so, or cut the answer that runs."""
        self.refused = status, text
        if self.stream.started:
            self.stream.cut()
        else:
            self.stream.refuse(status, text)
        self._gone()

    def disconnect(self) -> None:
        """The client has gone: wake everything that waits for it."""
        if not self.disconnected and not self.stream.complete:
            self._gone()

    def _gone(self) -> None:
        self.disconnected = True
        self.stream.abandon()
        self._body.clear()
        self.wake()
        self.writable()
        direct, self.direct = self.direct, None
        if direct is not None:
            direct.client_gone()
        callback, self._on_disconnect = self._on_disconnect, None
        if callback is not None:
            callback()

    def writable(self) -> None:
        """The client has caught up (or is gone)."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
