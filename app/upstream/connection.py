"""One HTTP/1.1 connection to a backend: bytes in, four callbacks out.

Knows neither httpx nor ASGI. `begin` writes a request; its answer comes as
`on_head`, `on_body`..., `on_end`, or breaks off with `on_lost` at any point.
The callbacks run inside the event loop's read: nothing in here awaits but `drain`.
"""

from __future__ import annotations

import asyncio
import fcntl
import select
import struct
import termios
from collections.abc import Callable
from typing import Protocol, cast

import httptools

from app.errors import (
    UpstreamBadAnswer,
    UpstreamCut,
    UpstreamError,
    UpstreamReset,
    UpstreamStale,
    UpstreamTimeout,
)
from app.upstream import framing
from app.upstream.framing import MAX_HEAD, MAX_INTERIM, SHORTEST_START, RawHeaders

NEVER = float("inf")

# Where in an answer we are. Up to HEAD no byte of it has been passed on.
START, HEAD, CHUNKS, COUNTED, ENDLESS, COMPLETE = range(6)

ZERO, ONE = b"01"

TOO_MUCH = "the backend sent bytes after the end of its answer"

_STATE_OF_LENGTH = {framing.CHUNKED: CHUNKS, framing.UNTIL_CLOSE: ENDLESS, 0: COMPLETE}
_USUAL_STATUS = frozenset(range(200, 600))


class Receiver(Protocol):
    """Who asked. After `on_end` or `on_lost` it hears nothing more."""

    def on_head(self, status: int, reason: bytes, headers: RawHeaders) -> None:
        """The final head; names in lower case, framing fields among them."""

    def on_body(self, data: bytes) -> None:
        """A piece of the body, without transfer coding."""

    def on_end(self, trailers: RawHeaders) -> None:
        """The answer is complete."""

    def on_lost(self, error: UpstreamError) -> None:
        """The answer will not come, or not to its end."""


class Owner(Protocol):
    """Who keeps connections: a pool."""

    tcp_timeout: float
    """Seconds without a byte in either direction, NEVER for no limit."""
    response_timeout: float
    """Seconds from the request's last byte to the end of the answer's head."""

    def on_free(self, connection: Connection) -> None:
        """The answer is complete and another request may follow on this connection."""

    def on_closed(self, connection: Connection) -> None:
        """The socket is gone. Called once."""


class Connection(asyncio.Protocol):
    """A connection that carries one request at a time.

    `deadline` (loop time) is for the owner's sweep, which calls `expire` when
    it has passed: so no request needs a timer of its own.
    """

    __slots__ = (
        "_clock", "_drained", "_fed", "_headers", "_held", "_http10", "_interims", "_keep",
        "_left", "_owner", "_parser", "_poll", "_reason", "_receiver", "_state", "_to_head",
        "_transport", "_uploading", "_watched", "born", "connect_time", "deadline", "paused",
        "served",
    )  # fmt: skip

    def __init__(self, owner: Owner, clock: Callable[[], float]) -> None:
        self._owner = owner
        self._clock = clock
        self._transport: asyncio.Transport | None = None
        self._receiver: Receiver | None = None
        self._drained: asyncio.Future[None] | None = None
        self._poll: select.poll | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: RawHeaders = []
        self._state = COMPLETE
        self._uploading = False
        self._watched: tuple[int, float] | None = None
        self.paused = False
        self.born = clock()
        self.connect_time = 0.0
        self.deadline = NEVER
        self.served = 0

    # -- what the pool and the asker call

    def begin(self, receiver: Receiver, request: bytes, *, to_head: bool, upload: bool) -> None:
        """Write `request` and expect its answer; with `upload`, more follows by `write`."""
        self._receiver = receiver
        self._to_head = to_head
        self._uploading = upload
        self._state = START
        self._fed = self._interims = 0
        self._held = self._reason = b""
        self._headers = []
        self._watched = None
        self.deadline = NEVER if upload else self._clock() + self._owner.response_timeout
        cast(asyncio.Transport, self._transport).write(request)

    def write(self, pieces: list[bytes]) -> None:
        """More of the request's body, already framed."""
        if self._transport is not None:
            self._transport.writelines(pieces)

    async def drain(self) -> None:
        """Wait until the backend has taken most of what was written."""
        if self._drained is None:
            return
        if self._state == START:
            self.deadline = self._clock() + self._owner.tcp_timeout
        await self._drained
        if self._state == START:
            self.deadline = NEVER  # the next piece is the client's to send, not a backend's fault

    def sent(self) -> None:
        """The request is complete: from now on the answer is due."""
        self._uploading = False
        if self._state == START:
            self.deadline = self._clock() + self._owner.response_timeout
        elif self._state == COMPLETE and self._transport is not None:
            self._settle()

    @property
    def usable(self) -> bool:
        """Whether a request may be written, as far as the event loop knows."""
        return self._transport is not None and not self._transport.is_closing()

    def hung_up(self) -> bool:
        """Ask the kernel: has the backend closed, or sent what nobody asked for?

        The event loop may not have seen it yet. One system call.
        """
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._fileno(), select.POLLIN | select.POLLRDHUP)
        return bool(self._poll.poll(0))

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
        self._state = COMPLETE
        self._keep = False
        if self._transport is not None:
            self._transport.abort()

    def expire(self, now: float) -> None:
        """The deadline has passed: close, unless a request is still moving out."""
        if self._receiver is None:
            self.abort()
        elif not self._still_sending(now):
            self._fail(UpstreamTimeout())

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        receiver, state = self._receiver, self._state
        if receiver is None:  # nobody asked for it: whatever it is, it belongs to no request
            self.abort()
            return
        try:
            if state <= CHUNKS:
                self._feed(data)
            elif state == COUNTED:
                self._count(data, receiver)
            else:
                receiver.on_body(data)
        except UpstreamBadAnswer as error:
            self._fail(error)
            return
        if CHUNKS <= self._state < COMPLETE and not self.paused:
            self.deadline = self._clock() + self._owner.tcp_timeout

    def eof_received(self) -> None:
        # TLS: only a close_notify comes here, so a cut stream can not pass for a whole one.
        if self._state == ENDLESS:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.resume_writing()
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            error = self._loss()
            error.__cause__ = exc
            receiver.on_lost(error)
        del self._parser  # which refers to us: the garbage collector need not find it
        self._owner.on_closed(self)

    def pause_writing(self) -> None:
        self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # -- httptools

    def on_message_begin(self) -> None:
        if self._state == COMPLETE:
            raise UpstreamBadAnswer(TOO_MUCH)

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        headers, self._headers = self._headers, []
        status = self._parser.get_status_code()
        if self._fed > MAX_HEAD and framing.size(headers) > MAX_HEAD:
            raise UpstreamBadAnswer("the head of the backend's answer is too large")
        if status not in _USUAL_STATUS or self._reason not in framing.REASONS:
            framing.check_status(status, self._reason)
            if status < 200:
                self._reason = b""
                return
        length = framing.body_length(status, headers, to_head=self._to_head, http10=self._http10)
        self._keep = self._parser.should_keep_alive()
        if length == 0 and not self._keep:  # llhttp takes an answer to HEAD for an endless one
            self._keep = not framing.asks_to_close(headers, http10=self._http10)
        self._left = length
        self._state = _STATE_OF_LENGTH.get(length, COUNTED)
        cast(Receiver, self._receiver).on_head(status, self._reason, headers)

    def on_body(self, data: bytes) -> None:
        if self._state == COMPLETE:
            raise UpstreamBadAnswer(TOO_MUCH)
        self._fed = 0
        self._left -= len(data)
        cast(Receiver, self._receiver).on_body(data)

    def on_message_complete(self) -> None:
        if self._state != START:  # else it was a 1xx
            self._state = COMPLETE

    # -- inside

    def _feed(self, data: bytes) -> None:
        if self._state == START:
            data = self._start(self._held + data)
            if not data:
                return
        self._parse(data)
        if self._state == COMPLETE:
            if self._to_head:
                self._parser = httptools.HttpResponseParser(self)  # the old one waits for a body
            self._finish()
        elif self._fed > MAX_HEAD and self._state <= CHUNKS:
            raise UpstreamBadAnswer("the backend's answer has too large a head or trailer")

    def _start(self, data: bytes) -> bytes:
        """Drop 1xx answers. Returns what begins the final one, nothing if that is yet to come."""
        while len(data) >= SHORTEST_START:
            framing.check_start(data)
            self._http10 = data[7] == ZERO
            if data[9] != ONE:
                self._state = HEAD
                return data
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                break
            self._interims += 1
            if data[9:12] == b"101" or self._interims > MAX_INTERIM:
                raise UpstreamBadAnswer("the backend answered 101, or 1xx without end, unasked")
            self._parse(data[:end])
            self._fed = 0
            data = data[end:]
        if len(data) > MAX_HEAD:
            raise UpstreamBadAnswer("the head of the backend's answer is too large")
        self._held = data
        return b""

    def _parse(self, data: bytes) -> None:
        self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as exc:
            raise exc.__context__ or exc from None
        except httptools.HttpParserError as exc:
            raise UpstreamBadAnswer(f"the backend's answer is not valid HTTP: {exc}") from None

    def _count(self, data: bytes, receiver: Receiver) -> None:
        """A body of known length needs no parser, and no copy of every byte."""
        self._left -= len(data)
        if self._left < 0:
            raise UpstreamBadAnswer(TOO_MUCH)
        receiver.on_body(data)
        if self._left == 0:
            self._parser = httptools.HttpResponseParser(self)  # the old one waits for this body
            self._finish()

    def _finish(self) -> None:
        receiver, self._receiver = cast(Receiver, self._receiver), None
        self._keep = self._keep and self._state != ENDLESS
        self._state = COMPLETE
        self.deadline = NEVER
        receiver.on_end(self._headers)
        if not self._uploading:
            self._settle()

    def _settle(self) -> None:
        """Both the request and its answer are complete: the connection is free, or ends."""
        if self._keep and self.usable:
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
        if self._state > HEAD:
            return UpstreamCut()
        if self._state == HEAD or self._held or self._interims:
            return UpstreamBadAnswer("the backend closed the connection inside its answer's head")
        return UpstreamStale() if self.served else UpstreamReset()

    def _still_sending(self, now: float) -> bool:
        """Whether the backend still takes bytes of a request that is slow to leave.

        Looked at in steps of an eighth of the timeout from the first time the
        deadline passes, so a connection on which nothing moves is found in time.
        """
        unsent = self._unsent_bytes()
        if unsent == 0 and self._watched is None:
            return False
        timeout = self._owner.tcp_timeout
        if unsent == 0:
            self._watched = None
            self.deadline = now + self._owner.response_timeout
            return True
        if self._watched is None:
            self._watched = (unsent, now - timeout)
        elif unsent < self._watched[0]:
            self._watched = (unsent, now)
        elif now - self._watched[1] >= timeout:
            return False
        self.deadline = now + timeout / 8
        return True

    def _unsent_bytes(self) -> int:
        """Bytes the backend has not acknowledged: in our buffer and in the kernel's."""
        transport = cast(asyncio.Transport, self._transport)
        queued = fcntl.ioctl(self._fileno(), termios.TIOCOUTQ, bytes(4))
        return transport.get_write_buffer_size() + int(struct.unpack("i", queued)[0])

    def _fileno(self) -> int:
        return int(cast(asyncio.Transport, self._transport).get_extra_info("socket").fileno())
