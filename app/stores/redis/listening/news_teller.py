"""The listening worker's end: it tells each sibling what it hears."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from time import monotonic
from typing import cast

from .tracking_news import NewsFrame, NewsKind, TrackingNews, packed_frame

MOST_UNREAD = 4 * 2**20
"""Bytes that wait for a follower; one that has more of them unread is cut off."""
BEAT_AFTER = 0.5
"""Seconds without a frame after which a mere sign of life makes one."""


class NewsTeller:
    """Frames to all followers. What is heard in one turn of the event loop is one frame."""

    def __init__(self, state: Callable[[], list[TrackingNews]], as_of: Callable[[], float]) -> None:
        """`state` is what a new follower has to know; `as_of` is that of NewsFrame."""
        self._state, self._as_of = state, as_of
        self.followers: set[asyncio.Transport] = set()
        self._waiting: list[TrackingNews] = []
        self._flush_at: asyncio.Handle | None = None
        self._told_at = 0.0
        self._server: asyncio.Server | None = None

    async def open(self, sock: socket.socket) -> None:
        """Take followers from now on. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Follower(self), sock=sock)

    def join(self, transport: asyncio.Transport) -> None:
        """A follower has come: it is told how things stand, and then all that is heard."""
        if self._server is None:  # closed between accepting it and this
            transport.abort()
            return
        self._flush()  # it knows that already
        self.followers.add(transport)
        transport.write(packed_frame(NewsFrame(self._as_of(), self._state())))

    def tell(self, news: TrackingNews) -> None:
        """Pass on what was heard."""
        if not self.followers:
            return
        if news.kind is not NewsKind.HEARD:
            self._waiting.append(news)
        elif self._told_at + BEAT_AFTER > monotonic():
            return
        if self._flush_at is None:
            self._flush_at = asyncio.get_running_loop().call_soon(self._flush)

    def beat(self) -> None:
        """Give a sign of life."""
        self.tell(TrackingNews(NewsKind.HEARD))

    def _flush(self) -> None:
        if self._flush_at is None:
            return
        self._flush_at.cancel()
        self._flush_at = None
        news, self._waiting = self._waiting, []
        self._told_at = monotonic()
        try:
            frame = packed_frame(NewsFrame(self._as_of(), news))
            for transport in list(self.followers):
                if transport.get_write_buffer_size() > MOST_UNREAD:
                    self.followers.discard(transport)
                    transport.abort()
                else:
                    transport.write(frame)
        except BaseException:
            self._abandon()  # who was not told must not go on to believe what it knows
            raise

    def close(self) -> None:
        """Leave all followers to themselves."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._flush_at is not None:
            self._flush_at.cancel()
            self._flush_at = None
        self._abandon()

    def _abandon(self) -> None:
        for transport in self.followers:
            transport.abort()
        self.followers.clear()


class _Follower(asyncio.Protocol):
    def __init__(self, teller: NewsTeller) -> None:
        self._teller = teller
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._teller.join(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._teller.followers.discard(self._transport)
