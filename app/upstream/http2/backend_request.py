"""Room for one request on a connection of HTTP/2: what a pool keeps, and hands out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence, Set
from contextlib import suppress

from ...errors import UpstreamError, UpstreamTimeout
from ...fields.headers import RawHeaders
from ...fields.trailers import Trailers
from ...http2.engine import EngineEnded, StreamGone
from ...http2.field_rules import trailer_section
from ..backend_stream import NEVER, BackendStream, Owner, Receiver
from .answer_parts import AnswerParts
from .answer_sections import AnswerSection
from .request_section import request_section
from .shared_connection import SharedConnection

HELD = 65536
"""Bytes of a request that wait for the backend's window before the client has to wait, too."""


class BackendRequest(AnswerParts):
    """Carries one request after another: a PooledConnection and its only stream, for the pool.

    Each of its requests is a stream of its own. Many of these share a connection, which the pool
    does not see: its limits and its queue hold as for HTTP/1.1.
    """

    section = staticmethod(request_section)
    __slots__ = (
        "_clock", "_closed", "_connection", "_drained", "_free", "_last", "_owner", "_paused",
        "_receiver", "_unsent", "_uploading", "connect_time", "deadline", "new_future", "number",
    )  # fmt: skip

    def __init__(self, connection: SharedConnection, owner: Owner) -> None:
        super().__init__()
        self._connection, self._owner, self._clock = connection, owner, connection.clock
        self.new_future = connection.new_future
        self.connect_time: float | None = None
        self.deadline = NEVER
        self._receiver: Receiver | None = None
        self._drained: asyncio.Future[None] | None = None
        self._closed = self._uploading = self._paused = self._free = False
        self.number = self._last = self._unsent = 0
        """The engine's stream, 0 between two requests and where the stream is over."""

    # -- backend_stream.BackendStream and PooledConnection

    def begin(
        self, receiver: Receiver, method: bytes, target: bytes, headers: RawHeaders,
        body: bytes | None = None, *,
        upload: bool = False, chunked: bool = False, trailers: Trailers = (),
    ) -> None:  # fmt: skip
        fields = self.section(method, target, headers, self._connection.scheme)
        behind = trailer_section(trailers) if chunked else []
        self._forget()
        self._free = self._paused = False
        self._receiver, self._uploading, self._unsent = receiver, upload, 0
        engine = self._connection.engine
        whole = not (upload or body or behind)
        self.number = self._last = engine.send_request(fields, end_stream=whole)
        self._connection.streams[self.number] = self
        if body:
            engine.send_data(self.number, body, end_stream=not (upload or behind))
        if behind and not upload:
            engine.send_trailers(self.number, behind)
        self.deadline = NEVER if upload else self._clock() + self._owner.response_timeout
        self._connection.flush_soon()

    def write(self, parts: Sequence[bytes]) -> None:
        if self.number:
            with suppress(StreamGone, EngineEnded):
                for data in filter(None, parts):
                    self._connection.engine.send_data(self.number, data)
            self._connection.flush_soon()

    async def drain(self) -> None:
        if not self.number or self.queued() <= HELD:
            return
        if not self.begun:
            self._watch()
        self._drained = self.new_future()
        self._connection.waiting.add(self)
        await self._drained
        if not self.begun:
            self.deadline = NEVER  # the next piece is the client's to send, not a backend's fault

    def end_request(self, trailers: Trailers = ()) -> None:
        self._uploading = False
        if self.number:
            engine, behind = self._connection.engine, trailer_section(trailers)
            with suppress(StreamGone, EngineEnded):
                if behind:
                    engine.send_trailers(self.number, behind)
                else:
                    engine.end_stream(self.number)
            self._connection.flush_soon()
        if self.ended:
            self._settle()
        elif not self.begun:
            self._watch()

    def is_available(self) -> bool:
        return not self._closed and self._connection.accepts

    @property
    def is_idle(self) -> bool:
        return self._receiver is None and not self._uploading

    def in_use(self) -> Sequence[tuple[Receiver, BackendStream]]:
        return ((self._receiver, self),) if self._receiver is not None else ()

    def open_stream(self) -> BackendRequest:
        return self

    def hung_up(self) -> bool:
        return not self.number and (self._closed or not self._connection.accepts)

    def retire_from(self, addresses: Set[str]) -> None:
        self._connection.retire_from(addresses)

    def pause(self) -> None:
        self._paused = True
        self.deadline = NEVER  # a slow client is not the backend's fault

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self.deadline = self._clock() + self._owner.tcp_timeout
            self._give_back()

    def abort(self) -> None:
        self._receiver, self._uploading = None, False
        if not self.number or not self._connection.accepts:
            self.close()
            return
        self._reset()
        asyncio.get_running_loop().call_soon(self._settle)

    def close(self) -> None:
        self._receiver, self._uploading = None, False
        self._reset()
        if not self._closed:
            self._closed = True
            self._connection.leave(self)
            asyncio.get_running_loop().call_soon(self._owner.on_closed, self)

    def expire(self, now: float) -> None:
        """Give up, unless the request is still moving out."""
        if not self.begun and (queued := self.queued()):
            if queued != self._unsent:
                self._unsent, self.deadline = queued, now + self._owner.tcp_timeout
                return
        elif not self.begun and self._unsent:
            self._unsent, self.deadline = 0, now + self._owner.response_timeout
            return
        self._connection.retire()  # it may be gone without a word
        self.fail(UpstreamTimeout(answer_begun=self.begun))

    def fail(self, error: UpstreamError) -> None:
        receiver = self._receiver
        self.abort()
        if receiver is not None:
            receiver.on_lost(error)

    # -- what the connection tells

    def on_interim(self, fields: AnswerSection) -> None:
        """A 1xx answer. Raises UpstreamBadAnswer."""
        if self._receiver is not None:
            self._receiver.on_interim(*self.interim(fields))

    def on_closed(self, error: UpstreamError | None) -> None:
        """The stream is over; `error` says why, if its answer has not come whole."""
        self.number, self._error = 0, error
        self._wake()

    def deliver(self) -> None:
        """Pass on what has come since the last time."""
        receiver, head = self._receiver, self._head
        body, self._body, self._head = b"".join(self._body), [], None
        if receiver is not None and head is not None:
            self.begun = True
            if self.ended:
                self._receiver = None
                receiver.on_whole(head[0], b"", head[1], body, self._trailers)
                receiver = None
            else:
                receiver.on_head(head[0], b"", head[1])
        if receiver is not None and body:
            receiver.on_body(body)
        if not self._paused or self._receiver is None:
            self._give_back()
        if self.begun and not self._paused:
            self.deadline = self._clock() + self._owner.tcp_timeout
        if (receiver := self._receiver) is not None:
            if self.ended:
                self._receiver = None
                receiver.on_end(self._trailers)
            elif self._error is not None:
                self._receiver, self._uploading = None, False
                receiver.on_lost(self._error)
        self._settle()

    def wake_if_drained(self) -> None:
        """The backend has taken something."""
        if self._drained is not None and self.queued() <= HELD // 2:
            self._wake()

    def queued(self) -> int:
        """Bytes of the request that wait for the backend's window."""
        return self._connection.engine.queued_body_size(self.number) if self.number else 0

    # -- inside

    def _settle(self) -> None:
        """If request and answer are over, there is room for the next one: say so once."""
        if self._closed or self._free or self.number or not self.is_idle:
            return
        if self._connection.may_keep:
            self._free = True
            self.deadline = self._clock() + self._owner.idle_timeout
            self.connect_time = None
            self._owner.on_available(self)
        else:
            self.close()

    def _reset(self) -> None:
        number, self.number = self.number, 0
        self._wake()
        if number:
            self._give_back()
            self._connection.reset(number)

    def _give_back(self) -> None:
        if self.unread:
            size, self.unread = self.unread, 0
            self._connection.give_back(size, self._last)

    def _watch(self) -> None:
        """Look at the sending at the next sweep."""
        self.deadline, self._unsent = self._clock(), -1

    def _wake(self) -> None:
        self._connection.waiting.discard(self)
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
