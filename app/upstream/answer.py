"""One request on one connection, as the asker sees it: wait for the head, read at your pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator

from app.errors import RequestBodyMismatch, UpstreamError
from app.upstream.connection import Connection
from app.upstream.framing import RawHeaders

HIGH_WATER = 65536
"""Bytes of an answer that wait for a slow client before reading stops."""


class Answer:
    """The answer of a backend. `aclose` it, whatever happens.

    Iterating gives the body as it comes, without its transfer coding, and
    raises UpstreamCut or UpstreamTimeout where the backend fails midway: what
    was cut here must be cut for the client too.
    """

    __slots__ = (
        "_buffered", "_chunks", "_connection", "_ended", "_error", "_upload", "_waiter",
        "connect_time", "headers", "reason", "status", "trailers", "whole",
    )  # fmt: skip

    status: int
    headers: RawHeaders
    """Names in lower case, framing fields still in it."""
    reason: bytes

    def __init__(self, connection: Connection, waiter: asyncio.Future[None]) -> None:
        self._connection: Connection | None = connection
        self._waiter: asyncio.Future[None] | None = waiter
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._ended = False
        self._error: BaseException | None = None
        self._upload: asyncio.Task[None] | None = None
        self.connect_time = None if connection.served else connection.connect_time
        """Seconds that connecting took, None on a connection that was kept."""
        self.trailers: RawHeaders = []
        """Of a chunked body that has been read to its end."""
        self.whole: bytes | None = None
        """The complete body, if it came together with the head."""

    # -- connection.Receiver

    def on_head(self, status: int, reason: bytes, headers: RawHeaders) -> None:
        self.status, self.reason, self.headers = status, reason, headers
        self._wake()

    def on_body(self, data: bytes) -> None:
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered >= HIGH_WATER and self._connection is not None:
            self._connection.pause()
        self._wake()

    def on_end(self, trailers: RawHeaders) -> None:
        self.trailers = trailers
        self._ended = True
        if self._upload is None:
            self._connection = None  # it may serve the next request before this is read
        self._wake()

    def on_lost(self, error: UpstreamError) -> None:
        self._error = error
        self._connection = None
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # -- sending

    async def head(self) -> Answer:
        """Wait until status and headers are known. Raises UpstreamError.

        An exception of the body that is being sent is raised as it is.
        """
        try:
            await self._waiter  # type: ignore[misc]
        except asyncio.CancelledError:
            self._drop()
            raise
        self._waiter = None
        if self._error is not None:
            self._drop()
            raise self._error
        if self._ended:
            chunks = self._chunks
            self.whole = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return self

    def send_body(self, body: AsyncIterable[bytes], length: int | None) -> None:
        """Send `body` beside the waiting: `length` bytes, or in chunks if None."""
        self._upload = asyncio.create_task(self._send(body, length), name="upstream request body")

    async def _send(self, body: AsyncIterable[bytes], length: int | None) -> None:
        connection = self._connection
        assert connection is not None
        try:
            if length is None:
                await _send_chunks(connection, body)
            else:
                await _send_counted(connection, body, length)
        except Exception as exc:  # the client's failure: the connection is of no more use
            self._error = exc
            self._connection = None
            connection.abort()
            self._wake()
        else:
            self._upload = None
            if self._ended:
                self._connection = None
            connection.sent()

    # -- reading

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            if self._connection is None:
                raise RuntimeError("this answer has been closed")
            self._connection.resume()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._buffered = 0
        return data

    async def aclose(self) -> None:
        """Give the connection up. One that is not at the end of its answer is closed."""
        upload = self._upload
        self._drop()
        if upload is not None:
            await asyncio.wait([upload])

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        if self._upload is not None:
            self._upload.cancel()


async def _send_chunks(connection: Connection, body: AsyncIterable[bytes]) -> None:
    async for data in body:
        if data:  # an empty chunk would end the body
            connection.write([b"%x\r\n" % len(data), data, b"\r\n"])
            await connection.drain()
    connection.write([b"0\r\n\r\n"])


async def _send_counted(connection: Connection, body: AsyncIterable[bytes], length: int) -> None:
    """Raises RequestBodyMismatch rather than send a byte too many."""
    async for data in body:
        length -= len(data)
        if length < 0:
            raise RequestBodyMismatch
        connection.write([data])
        await connection.drain()
    if length:
        raise RequestBodyMismatch
