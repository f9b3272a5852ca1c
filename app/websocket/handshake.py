"""The upgrade request to a backend: a connection that switched, or a refusal.

A refusal is an ordinary HTTP answer of any status and size, so httptools reads
it. What a 101 must hold is checked by the websockets library's ClientProtocol.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import cast

import httptools
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake
from websockets.http11 import Response

from ..errors import UpstreamBadAnswer, UpstreamCut, UpstreamError, UpstreamReset, UpstreamTimeout
from ..fields.headers import RawHeaders, field
from ..routing import Backend
from ..upstream.framing import MAX_HEAD, check_start, check_status, checked_length

Dial = Callable[[Backend, Callable[[], "Handshake"]], Awaitable["Handshake"]]
"""Connects to a backend, TLS included; raises only UpstreamUnreachable and its kin."""

_HELD = 65536  # bytes of a refusal's body that wait for a slow client


@dataclass(slots=True)
class Switched:
    """A backend that answered 101, rightly. Reading is paused: who takes over resumes it."""

    transport: asyncio.Transport
    headers: RawHeaders
    first: bytes
    """What came behind the 101."""

    @property
    def status(self) -> int:
        """101, as a Refusal has its own."""
        return 101

    def abort(self) -> None:
        """Cut the connection."""
        self.transport.abort()


class Refusal:
    """A backend's answer other than 101."""

    def __init__(self, handshake: Handshake, idle: float) -> None:
        self.status = handshake.status
        self.reason = handshake.reason
        self.headers = handshake.headers
        self._handshake = handshake
        self._idle = idle

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body without its transfer coding. Raises UpstreamCut and UpstreamTimeout."""
        while (data := await self._handshake.body(self._idle)) is not None:
            yield data

    def abort(self) -> None:
        """Close the connection; idempotent."""
        self._handshake.transport.abort()


async def switch(
    dial: Dial,
    backend: Backend,
    *,
    target: bytes,
    headers: RawHeaders,
    checker: ClientProtocol,
    timeout: float,
    idle: float,
) -> Switched | Refusal:
    """Ask `backend` for a WebSocket at `target` with exactly these fields.

    `timeout` is for the head of the answer, `idle` for a standstill in a
    refusal's body; seconds, 0 = none. Raises Upstream errors only.
    """
    handshake = await dial(backend, Handshake)
    try:
        handshake.ask(target, headers)
        async with asyncio.timeout(timeout or None):
            await handshake.answered
        if handshake.status != 101:
            return Refusal(handshake, idle)
        _check(checker, handshake)
    except TimeoutError:
        handshake.transport.abort()
        raise UpstreamTimeout from None
    except BaseException:
        handshake.transport.abort()
        raise
    return Switched(handshake.transport, handshake.headers, handshake.first)


def _check(checker: ClientProtocol, handshake: Handshake) -> None:
    fields = Headers(
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in handshake.headers
    )
    try:
        checker.process_response(Response(101, "", fields))
    except InvalidHandshake as exc:
        raise UpstreamBadAnswer(f"WebSocket handshake: {exc}") from exc


class Handshake(asyncio.Protocol):
    """A backend's connection up to the end of its answer, or to its 101."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self.answered: asyncio.Future[None] = self._loop.create_future()
        """Done at the final head, or fails with an Upstream error."""
        self.status = 0
        self.reason = b""
        self.headers: RawHeaders = []
        self.first = b""
        self._fed = 0
        self._body: deque[bytes] = deque()
        self._held = 0
        self._ended = False
        self._error: UpstreamError | None = None
        self._more: asyncio.Future[None] | None = None

    def ask(self, target: bytes, headers: RawHeaders) -> None:
        """Write the request."""
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"GET %b HTTP/1.1\r\n%b\r\n" % (target, lines))

    async def body(self, idle: float) -> bytes | None:
        """The next part of the body, None at its end."""
        while not self._body:
            if self._error is not None:
                raise self._error
            if self._ended:
                return None
            self._more = self._loop.create_future()
            try:
                async with asyncio.timeout(idle or None):
                    await self._more
            except TimeoutError:
                raise UpstreamTimeout from None
        data = self._body.popleft()
        self._held -= len(data)
        if self._held < _HELD:
            self.transport.resume_reading()
        return data

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._ended or self._error:
            return None
        if not self._fed and len(data) >= 10:
            try:
                check_start(data)
            except UpstreamBadAnswer as exc:
                return self._fail(exc)
        self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self._switched(data[exc.args[0] :])
        except UpstreamError as exc:
            self._fail(exc)
        except httptools.HttpParserError as exc:
            cause = exc.__context__
            self._fail(cause if isinstance(cause, UpstreamError) else UpstreamBadAnswer(str(exc)))
        if not self.answered.done() and self._fed > MAX_HEAD:
            self._fail(UpstreamBadAnswer("head too large"))
        return None

    def on_status(self, part: bytes) -> None:
        self.reason += part

    def on_header(self, name: bytes, value: bytes) -> None:
        name, value = name.lower(), value.rstrip(b" \t")
        if name == b"content-length":
            value = checked_length(value)
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        check_status(self.status, self.reason)
        if self.status >= 200 and not self.answered.done():
            self.answered.set_result(None)

    def on_body(self, data: bytes) -> None:
        self._body.append(data)
        self._held += len(data)
        if self._held >= _HELD:
            self.transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        if self.status == 101:
            self._switched(b"")  # without Upgrade: the check will say so
        elif self.status < 200:
            self.headers, self.reason = [], b""
        else:
            self._ended = True
            self._wake()

    def _switched(self, first: bytes) -> None:
        self.first = first
        self._ended = True
        self.transport.pause_reading()
        if not self.answered.done():
            self.answered.set_result(None)

    def eof_received(self) -> None:
        delimited = field(self.headers, b"content-length") or field(
            self.headers, b"transfer-encoding"
        )
        if self.answered.done() and not delimited:
            self._ended = True  # closing was the only end it had (RFC 9112 §6.3)
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ended and self._error is None:
            self._fail(UpstreamCut() if self.answered.done() else UpstreamReset())

    def _fail(self, error: UpstreamError) -> None:
        self._error = error
        self.transport.abort()
        if not self.answered.done():
            self.answered.set_exception(error)
        self._wake()

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)
