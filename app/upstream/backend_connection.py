"""One HTTP/1.1 connection to a backend: bytes in, a Receiver's callbacks out.

Knows neither httpx nor ASGI. The callbacks run inside the event loop's read: only `drain` awaits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence, Set

from ..errors import UpstreamBadAnswer, UpstreamError, UpstreamStale, UpstreamTimeout
from ..fields.headers import RawHeaders
from ..fields.trailers import Trailers
from ..system import kernel
from ..system.resolver import plain
from .backend_stream import NEVER, BackendStream, Owner, Receiver
from .framing import may_begin_answer
from .parsed_answer import COMPLETE, HEAD
from .parsing import AnswerParser
from .request_framing import body_start, last_chunk, request_head
from .sending import WATCHED_FROM, Sending


class BackendConnection(asyncio.Protocol):
    """A connection that carries one request at a time: a PooledConnection and its only stream."""

    __slots__ = (
        "_chunked", "_clock", "_drained", "_owner", "_parser", "_receiver", "_retires",
        "_sending", "_sent", "_transport", "_uploader", "connect_time", "deadline", "new_future",
        "paused", "served",
    )  # fmt: skip

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self._owner, self._clock = owner, loop.time
        self.new_future: Callable[[], asyncio.Future[None]] = loop.create_future
        self._transport: asyncio.Transport | None = None
        self._receiver: Receiver | None = None
        self._uploader: Receiver | None = None
        self._drained: asyncio.Future[None] | None = None
        self._parser = AnswerParser()
        self._sending: Sending | None = None
        self._retires = loop.time() + owner.max_age
        self.connect_time: float | None = 0.0
        self.deadline, self.served, self._chunked, self.paused = NEVER, 0, False, False

    # -- backend_stream.BackendStream and PooledConnection

    def begin(
        self, receiver: Receiver, method: bytes, target: bytes, headers: RawHeaders,
        body: bytes | None = None, *,
        upload: bool = False, chunked: bool = False, trailers: Trailers = (),
    ) -> None:  # fmt: skip
        request = request_head(method, target, headers)
        if body is not None:
            request += body_start(body, trailers, chunked=chunked, whole=not upload)
        self._receiver, self._uploader = receiver, receiver if upload else None
        self._chunked, self._sending = chunked, None
        self._parser.expect(to_head=method == b"HEAD")
        self.deadline = NEVER if upload else self._clock() + self._owner.response_timeout
        self._sent = len(request)
        if self._sent > WATCHED_FROM and not upload:
            self._watch()
        self._transport.write(request)  # type: ignore[union-attr]

    def write(self, parts: Sequence[bytes]) -> None:
        parser = self._parser
        if self._transport is None or (parser.refused and not parser.keep):
            return  # the backend takes no more, and closes; after a 2xx it may
        size = sum(map(len, parts))
        self._sent += size
        if self._chunked and size:  # an empty chunk would end the body
            parts = [b"%x\r\n" % size, *parts, b"\r\n"]
        self._transport.writelines(parts)

    async def drain(self) -> None:
        if self._drained is None:
            return
        if self._parser.state <= HEAD:
            self._watch()
        await self._drained
        if self._parser.state <= HEAD:
            self.deadline = NEVER  # the next piece is the client's to send, not a backend's fault

    def end_request(self, trailers: Trailers = ()) -> None:
        self._uploader = None
        if self._chunked and self._transport is not None:
            self._transport.write(last_chunk(trailers))
        if self._parser.state <= HEAD:
            self._watch()
        elif self._parser.state == COMPLETE and self._transport is not None:
            self._settle()

    def is_available(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_idle(self) -> bool:
        return self._receiver is None and self._uploader is None

    def in_use(self) -> Sequence[tuple[Receiver, BackendStream]]:
        receiver = self._receiver or self._uploader
        return ((receiver, self),) if receiver is not None else ()

    def open_stream(self) -> BackendConnection:
        return self

    def retire_from(self, addresses: Set[str]) -> None:
        peer = self._transport.get_extra_info("peername") if self._transport else None
        if peer and plain(peer[0]) in addresses:
            self._retires = -NEVER
            if self.is_idle:
                self.abort()

    def hung_up(self) -> bool:
        return not self.is_available() or kernel.readable(self._transport)  # type: ignore[arg-type]

    def pause(self) -> None:
        if self._transport is not None and not self.paused:
            self.paused = True
            self.deadline = NEVER  # a slow client is not the backend's fault
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and self.paused:
            self.paused = False
            self.deadline = self._clock() + self._owner.tcp_timeout
            self._transport.resume_reading()

    def abort(self) -> None:
        self._receiver = self._uploader = None
        self._parser.keep = False
        if self._transport is not None:
            self._transport.abort()

    close = abort

    def expire(self, now: float) -> None:
        """Close, unless a request is still moving out."""
        if self._parser.state > HEAD or not self._still_sending(now):
            self.fail(UpstreamTimeout(answer_begun=self._parser.begun))

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        receiver, parser = self._receiver, self._parser
        if receiver is None:  # whatever it is, it belongs to no request
            self.abort()
            return
        began = parser.state
        try:
            body = parser.feed(data)
        except UpstreamBadAnswer as error:
            # On a kept connection, what is no answer at all belongs to the one before.
            late = self.served and not (parser.begun or may_begin_answer(data))
            self.fail(UpstreamStale() if late else error)
            return
        if began <= HEAD:
            if parser.interims:
                parser.pass_interims(receiver.on_interim)
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
        # TLS: only a close_notify comes here, so a cut stream cannot pass for a whole one.
        if self._receiver is not None and self._parser.eof():
            self._end(self._receiver)

    def connection_lost(self, exc: Exception | None) -> None:
        transport, self._transport = self._transport, None
        self.resume_writing()
        if exc is not None and self._receiver is not None and transport is not None:
            # A write met a reset. The backend may have answered and closed without reading on.
            for data in kernel.unread(transport):
                self.data_received(data)
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            error = self._parser.loss(kept=self.served > 0)
            error.__cause__ = exc
            receiver.on_lost(error)
        self._owner.on_closed(self)

    def pause_writing(self) -> None:
        self._drained = self.new_future()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def _end(self, receiver: Receiver) -> None:
        self._receiver = None
        receiver.on_end(self._parser.trailers)
        self._settle()

    def _settle(self) -> None:
        """The answer is complete; if its request is too, the connection is free, or ends."""
        if self._uploader is not None:
            self.deadline = NEVER
            return
        transport, parser = self._transport, self._parser
        if self._sent > WATCHED_FROM and parser.refused:
            parser.keep = False  # servers close where that is more than they care to read
        if parser.keep and transport is not None and not transport.is_closing():
            if self.paused:
                self.resume()
            now = self._clock()
            if now < self._retires:
                self.connect_time = None
                self.served += 1
                self.deadline = now + self._owner.idle_timeout
                self._owner.on_available(self)
                return
        self.abort()

    def fail(self, error: UpstreamError) -> None:
        receiver = self._receiver
        self.abort()
        if receiver is not None:
            receiver.on_lost(error)

    def _watch(self) -> None:
        """Watch the sending from now on: each sweep asks how far it has come."""
        if self._transport is not None:
            self.deadline = self._clock()
            self._sending = Sending(self._transport, self.deadline)

    def _still_sending(self, now: float) -> bool:
        """Whether the backend took a byte within `tcp_timeout`; after the last one it answers."""
        if self._sending is None:
            return False
        silence = self._sending.silence(now)
        if silence is None:
            self._sending = None
            self.deadline = now + self._owner.response_timeout
        return silence is None or silence < self._owner.tcp_timeout
