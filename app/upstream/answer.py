"""One request on one stream, as the asker sees it: wait for the head, read at your pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence

from ..errors import RequestBodyMismatch
from ..fields.headers import RawHeaders
from ..fields.trailers import Trailers
from .asker import Asker
from .backend_stream import BackendStream
from .streamed_body import RestOfBody

OnInterim = Callable[[int, RawHeaders], None]
"""Gets status and fields of a 1xx answer."""
HIGH_WATER = 65536
"""Bytes of an answer that wait for a slow client before reading stops."""
LOOKS = 4
"""Turns of the event loop for what a backend has sent before more of a body is written to it. Loops
resume us before they read, and tickets of TLS may stand before an answer."""


class Answer:
    """The answer of a backend. `aclose` it, whatever happens.

    Iterating gives the body as it comes, without its transfer coding, and
    raises UpstreamCut or UpstreamTimeout where the backend fails midway: what
    was cut here must be cut for the client too.
    """

    __slots__ = (
        "_began", "_buffered", "_chunks", "_ended", "_error", "_is_read", "_stream", "_upload",
        "_waiter", "asker", "connect_time", "headers", "reason", "status", "tell_interim",
        "trailers", "whole",
    )  # fmt: skip

    status: int
    headers: RawHeaders
    """Names in lower case, framing fields still in it."""
    reason: bytes
    trailers: Trailers
    """Of a chunked body, once it has been read to its end."""

    def __init__(self, stream: BackendStream | None = None, asker: Asker | None = None) -> None:
        """`stream`: what the request goes out on; if nobody knows yet, `use` follows."""
        self._stream = stream
        self.asker = asker
        self._upload: asyncio.Task[None] | None = None
        self._began = self._is_read = self._ended = False
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None  # of the one who waits for the next step
        self.connect_time = None if stream is None else stream.connect_time
        """Seconds that connecting took, None on a connection that was kept."""
        self.tell_interim: OnInterim | None = None
        self.whole: bytes | None = None
        """The complete body, if all of it came before iterating began."""

    def use(self, stream: BackendStream) -> None:
        """The request goes out on `stream`."""
        self._stream = stream
        self.connect_time = stream.connect_time

    # -- backend_stream.Receiver

    def on_interim(self, status: int, headers: RawHeaders) -> None:
        if self.tell_interim is not None:
            self.tell_interim(status, headers)

    def on_whole(
        self, status: int, reason: bytes, headers: RawHeaders, body: bytes, trailers: Trailers = ()
    ) -> None:
        self.status, self.reason, self.headers, self.whole = status, reason, headers, body
        self.trailers = trailers
        self._chunks = [body] if body else []
        self._buffered = 0
        self._began = self._ended = True
        if self._upload is None:
            self._stream = None  # it may serve the next request before this is read
        self._wake()

    def on_head(self, status: int, reason: bytes, headers: RawHeaders) -> None:
        self.status, self.reason, self.headers = status, reason, headers
        self.trailers = ()
        self._chunks = []
        self._buffered = 0
        self._began = True
        self._wake()

    def on_body(self, data: bytes) -> None:
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered >= HIGH_WATER and self._stream is not None:
            self._stream.pause()
        self._wake()

    def on_end(self, trailers: Trailers) -> None:
        self.trailers = trailers
        self._ended = True
        if not self._is_read:
            self.whole = b"".join(self._chunks)
        if self._upload is None:
            self._stream = None
        self._wake()

    def on_lost(self, error: BaseException) -> None:
        self._error = error
        self._stream = None
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- sending

    def send_body(self, body: AsyncIterable[Sequence[bytes]], length: int | None) -> None:
        """Send `body` while the answer may come: `length` more bytes, or in chunks if None."""
        self._upload = asyncio.create_task(self._send(body, length), name="upstream request body")

    async def _send(self, body: AsyncIterable[Sequence[bytes]], length: int | None) -> None:
        stream = self._stream
        assert stream is not None
        try:
            await _send_body(stream, body, length)
        except Exception as exc:  # the client's failure; the asker of the answer gets it
            stream.abort()
            if self._error is None:
                self.on_lost(exc)
        else:
            self._upload = None
            if self._ended:
                self._stream = None
            stream.end_request(body.trailers if isinstance(body, RestOfBody) else ())

    # -- reading

    async def wait_for_head(self) -> None:
        """Returns when the head is there. Raises UpstreamError, or as the request's body did;
        whatever comes instead, nothing is left behind."""
        try:
            while not self._began:
                if self._error is not None:
                    raise self._error
                await self._next_step()
        except BaseException:
            self.abandon()
            raise
        self.tell_interim = None

    def _next_step(self) -> asyncio.Future[None]:
        """Done with the head, with more of the body, with the end or a failure."""
        if self._stream is None:
            raise RuntimeError("this answer has been closed")
        self._waiter = self._stream.new_future()
        return self._waiter

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self._ended:
                raise StopAsyncIteration
            if self._error is not None:
                raise self._error
            self._is_read = True
            if self._stream is not None:
                self._stream.resume()
            await self._next_step()
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._buffered = 0
        return data

    async def aclose(self) -> None:
        """Give the answer up. A stream that is not at its end is cut."""
        if self._stream is not None or self._upload is not None:
            upload = self._upload
            self.abandon()
            if upload is not None:
                await asyncio.wait([upload])

    def abandon(self) -> None:
        """As `aclose`, without waiting for the end of the upload's task."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.abort()
        if self._upload is not None:
            self._upload.cancel()


async def _send_body(
    stream: BackendStream, body: AsyncIterable[Sequence[bytes]], length: int | None
) -> None:
    """Raises RequestBodyMismatch rather than send a byte more than `length`, if there is one."""
    sent = 0
    await stream.drain()  # what left with the head
    async for parts in body:
        sent += sum(map(len, parts))
        if length is not None and sent > length:
            raise RequestBodyMismatch
        for _ in range(LOOKS):
            if not stream.hung_up():
                break
            await asyncio.sleep(0)  # or it has answered: a write that meets a reset loses that
        stream.write(parts)
        await stream.drain()
    if length is not None and sent != length:
        raise RequestBodyMismatch
