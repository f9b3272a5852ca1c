"""One HTTP/1.1 connection to a backend: bytes in, four callbacks out.

Knows neither httpx nor ASGI. `begin` writes a request; its answer comes as
`on_head`, `on_body`..., `on_end`, or breaks off with `on_lost` at any point.
The callbacks run inside the event loop's read: nothing in here awaits but `drain`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from ..errors import (
    UpstreamBadAnswer,
    UpstreamCut,
    UpstreamError,
    UpstreamReset,
    UpstreamStale,
    UpstreamTimeout,
)
from ..fields.headers import RawHeaders
from . import kernel
from .parsing import COMPLETE, HEAD, AnswerParser

NEVER = float("inf")

LARGE = 65536
"""Bytes of a request above which its leaving is watched, for it may take long."""


class Receiver(Protocol):
    """Who asked. After `on_end` or `on_lost` it hears nothing more."""

    def on_head(self, status: int, reason: bytes, headers: RawHeaders) -> None:
        """The final head; names in lower case, framing fields among them."""

    def on_body(self, data: bytes) -> None:
        """A piece of the body, without transfer coding."""

    def on_end(self, trailers: RawHeaders) -> None:
        """The answer is complete."""

    def on_whole(self, status: int, reason: bytes, headers: RawHeaders, body: bytes) -> None:
        """Instead of the three above, where the answer came in one piece."""

    def on_lost(self, error: UpstreamError) -> None:
        """The answer will not come, or not to its end."""


class Owner(Protocol):
    """Who keeps connections: a pool."""

    tcp_timeout: float
    """Seconds without a byte in either direction, NEVER for no limit."""
    response_timeout: float
    """Seconds from the request's last byte to the end of the answer's head."""

    def on_free(self, connection: BackendConnection) -> None:
        """The answer is complete and another request may follow on this connection."""

    def on_closed(self, connection: BackendConnection) -> None:
        """The socket is gone. Called once."""


class BackendConnection(asyncio.Protocol):
    """A connection that carries one request at a time.

    `deadline` (loop time) is for the owner's sweep, which calls `expire` when
    it has passed: so no request needs a timer of its own.
    """

    __slots__ = (
        "_clock", "_drained", "_owner", "_parser", "_receiver", "_transport",
        "_uploading", "_watched", "born", "connect_time", "deadline", "new_future", "paused",
        "served",
    )  # fmt: skip

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._clock = loop.time
        self.new_future: Callable[[], asyncio.Future[None]] = loop.create_future
        self._transport: asyncio.Transport | None = None
        self._receiver: Receiver | None = None
        self._drained: asyncio.Future[None] | None = None
        self._parser = AnswerParser()
        self._uploading = False
        self._watched: tuple[float, float] | None = None
        self.paused = False
        self.born = loop.time()
        self.connect_time = 0.0
        self.deadline = NEVER
        self.served = 0

    # -- what the pool and the asker call

    def begin(self, receiver: Receiver, request: bytes, *, to_head: bool, upload: bool) -> None:
        """Write `request` and expect its answer; with `upload`, more follows by `write`."""
        self._receiver = receiver
        self._uploading = upload
        self._watched = None
        self._parser.expect(to_head=to_head)
        self.deadline = NEVER if upload else self._clock() + self._owner.response_timeout
        if len(request) > LARGE:
            self._watch()
        self._transport.write(request)  # type: ignore[union-attr]

    def write(self, pieces: list[bytes]) -> None:
        """More of the request's body, already framed."""
        if self._transport is not None:
            self._transport.writelines(pieces)

    async def drain(self) -> None:
        """Wait until the backend has taken most of what was written."""
        if self._drained is None:
            return
        if self._parser.state <= HEAD:
            self._watch()
        await self._drained
        if self._parser.state <= HEAD:
            self.deadline = NEVER  # the next piece is the client's to send, not a backend's fault

    def sent(self) -> None:
        """The request is complete: from now on the answer is due."""
        self._uploading = False
        if self._parser.state <= HEAD:
            self._watch()
        elif self._parser.state == COMPLETE and self._transport is not None:
            self._settle()

    @property
    def usable(self) -> bool:
        """Whether a request may be written, as far as the event loop knows."""
        return self._transport is not None and not self._transport.is_closing()

    def hung_up(self) -> bool:
        """Whether the backend has closed, or sent what nobody asked for: asks the kernel."""
        return self._transport is None or kernel.readable(self._transport)

    def pause(self) -> None:
        """Stop reading: the asker has enough."""
        if self._transport is not None and not self.paused:
            self.paused = True
            self.deadline = NEVER  # a slow client is not the backend's fault
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and self.paused:
            self.paused = False
            self.deadline = self._clock() + self._owner.tcp_timeout
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once. The receiver hears nothing more, the owner when it is done."""
        self._receiver = None
        self._parser.keep = False
        if self._transport is not None:
            self._transport.abort()

    def expire(self, now: float) -> None:
        """The deadline has passed: close, unless a request is still moving out."""
        if self._receiver is None:
            self.abort()
        elif self._parser.state > HEAD or not self._still_sending(now):
            self._fail(UpstreamTimeout(answer_begun=self._parser.begun))

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        receiver, parser = self._receiver, self._parser
        if receiver is None:  # nobody asked for it: whatever it is, it belongs to no request
            self.abort()
            return
        began = parser.state
        try:
            body = parser.feed(data)
        except UpstreamBadAnswer as error:
            self._fail(error)
            return
        if began <= HEAD:
            if parser.state <= HEAD:
                return
            if parser.state == COMPLETE and not parser.trailers:
                self._receiver = None
                receiver.on_whole(parser.status, parser.reason, parser.headers, body)
                self._settle()
                return
            receiver.on_head(parser.status, parser.reason, parser.headers)
        if body:
            receiver.on_body(body)
        if parser.state == COMPLETE:
            self._end(receiver)
        elif not self.paused:
            self.deadline = self._clock() + self._owner.tcp_timeout

    def eof_received(self) -> None:
        # TLS: only a close_notify comes here, so a cut stream can not pass for a whole one.
        if self._receiver is not None and self._parser.eof():
            self._end(self._receiver)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.resume_writing()
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            error = self._loss()
            error.__cause__ = exc
            receiver.on_lost(error)
        self._owner.on_closed(self)

    def pause_writing(self) -> None:
        self._drained = self.new_future()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # -- inside

    def _end(self, receiver: Receiver) -> None:
        self._receiver = None
        receiver.on_end(self._parser.trailers)
        self._settle()

    def _settle(self) -> None:
        """The answer is complete; if its request is too, the connection is free, or ends."""
        if self._uploading:
            self.deadline = NEVER
            return
        transport = self._transport
        if self._parser.keep and transport is not None and not transport.is_closing():
            if self.paused:
                self.resume()
            self.served += 1
            self._owner.on_free(self)
        else:
            self.abort()

    def _fail(self, error: UpstreamError) -> None:
        receiver = self._receiver
        self.abort()
        if receiver is not None:
            receiver.on_lost(error)

    def _loss(self) -> UpstreamError:
        """What it means that the connection is gone now."""
        if self._parser.state > HEAD:
            return UpstreamCut()
        if self._parser.begun:
            return UpstreamBadAnswer("the backend closed the connection inside its answer's head")
        return UpstreamStale() if self.served else UpstreamReset()

    def _watch(self) -> None:
        """Look after a request that takes time to leave: while it moves, no timeout runs."""
        self._watched = (NEVER, self._clock())
        self.deadline = self._watched[1] + self._step

    def _still_sending(self, now: float) -> bool:
        """Whether the backend still takes bytes; else it has had tcp_timeout to take one.

        With the last byte gone, the time for the answer's head begins.
        """
        if self._watched is None:
            return False
        unsent = kernel.unacknowledged(cast(asyncio.Transport, self._transport))
        if unsent == 0:
            self._watched = None
            self.deadline = now + self._owner.response_timeout
            return True
        if unsent < self._watched[0]:
            self._watched = (unsent, now)
        elif now - self._watched[1] >= self._owner.tcp_timeout:
            return False
        self.deadline = now + self._step
        return True

    @property
    def _step(self) -> float:
        return min(self._owner.tcp_timeout, self._owner.response_timeout) / 8
