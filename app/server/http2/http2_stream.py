"""One request of an HTTP/2 connection: its body on the way in, its answer on the way out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from ...fields.trailers import Trailers
from ...http2.engine import Engine, ErrorCode, StreamGone
from ...system import kernel
from ..answer_length import MeasuredAnswer
from .answer_fields import final_fields, interim_fields, refusal, trailer_fields

if TYPE_CHECKING:
    from ...fields.headers import RawHeaders
    from ..exchange import Exchange
    from ..request_head import RequestHead

UPDATES = 4
"""Frames that a client may send for each frame of DATA: it widens two windows, perhaps a little at
a time, and may ask for another priority."""


class Carrier(Protocol):
    """The connection, as its streams see it."""

    engine: Engine
    transport: asyncio.Transport
    updates_due: int
    write_paused: bool

    def flush(self) -> None:
        """Send what the engine has and the client's windows allow."""

    def flush_soon(self) -> None:
        """The same, with all else that comes up in this turn of the loop."""

    def send_whole(
        self, stream: Http2Stream, fields: RawHeaders, body: bytes, trailers: RawHeaders
    ) -> None:
        """A whole answer at once, whose body is not empty."""

    def body_queued(self, stream: Http2Stream, size: int) -> None:
        """`size` bytes of an answer's body are with the engine, and more will come."""

    def response_done(self, stream: Http2Stream) -> None:
        """The answer is whole, as far as the application is concerned."""

    def acknowledge(self, stream: Http2Stream, size: int) -> None:
        """`size` bytes of its body were taken: the client may send as many again."""

    def reset_stream(self, stream: Http2Stream, code: ErrorCode) -> None:
        """End one stream at once; what has not left yet is lost."""


class Http2Stream(MeasuredAnswer):
    """Checks the answer and gives it to the engine; the client's windows set the pace."""

    __slots__ = (
        "_connection", "_end_told", "_head", "body_came", "complete", "exchange",
        "expects_continue", "full", "head_size", "id", "received", "reset", "sent_at", "started",
        "took_at", "unread", "unsent", "wide",
    )  # fmt: skip

    exchange: Exchange

    def __init__(self, connection: Carrier, request: RequestHead, number: int) -> None:
        self._connection = connection
        self._request = request
        self._left = 0
        self._end_told = False  # END_STREAM is with the engine, or with the held head
        self._head: RawHeaders | None = None  # held for one turn of the loop: it may be all
        self.id = number
        self.head_size = 0
        """Bytes of its request's head, as the limit counts them."""
        self.started = self.complete = False
        self.full = False
        """The client is behind: `Exchange.writable` is called when it has caught up."""
        self.expects_continue = request.expects_continue
        self.body_came = request.length == 0
        """The client has sent all of its request."""
        self.reset = False
        """We have ended it before its time."""
        self.received = 0
        """Bytes of the body so far."""
        self.unread = 0
        """Of these, what nobody has taken: the client's window is smaller by as much."""
        self.wide = False
        """Its client may send more ahead than on others."""
        self.unsent = 0
        """Bytes that waited for the client's window at the last look."""
        self.sent_at = self.took_at = 0.0
        """When the client last sent some of its body, and took some of its answer, on
        `Edge.now`'s clock; kept only while we wait for it."""

    def take(self, data: bytes) -> None:
        """Body bytes came."""
        self.received += len(data)
        self.unread += len(data)
        if self.complete or self.exchange.disconnected:
            self.resume()
        else:
            self.exchange.feed(data)

    def pause(self) -> None:
        """What is not taken keeps the client's window small: nothing more is needed."""

    def resume(self) -> None:
        """All that has come was taken: the client may send as much again."""
        if self.unread:
            unread, self.unread = self.unread, 0
            self._connection.acknowledge(self, unread)

    # The answer.

    def untaken(self) -> int:
        """Bytes that wait for the client's window, and for its kernel if that takes nothing."""
        connection = self._connection
        paused = connection.write_paused
        return self.queued() + (paused and kernel.unacknowledged(connection.transport))

    def answer(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], reason: bytes | None,
        body: bytes, trailers: Trailers = (),
    ) -> None:  # fmt: skip
        """A whole answer at once. HTTP/2 has no phrases: `reason` is not sent."""
        fields, length = final_fields(status, headers, self._request.method)
        if body and (length < 0 or length == len(body)):
            behind = trailer_fields(trailers, self._request) if trailers and length < 0 else []
            self.started = self.complete = self._end_told = True
            self.expects_continue = False
            self._connection.send_whole(self, fields, body, behind)
            return
        self._begin(fields, length)
        self.send_body(body, bool(trailers))
        if trailers:
            self.send_trailers(trailers)

    def send_head(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], reason: bytes | None
    ) -> None:
        """Begin the answer; it leaves with the first part of its body, or a turn later."""
        self._begin(*final_fields(status, headers, self._request.method))
        asyncio.get_running_loop().call_soon(self._send_head_alone)

    def _begin(self, fields: RawHeaders, length: int) -> None:
        self._head, self._left, self._end_told = fields, length, length == 0
        self.expects_continue = False
        self.started = True

    def _give_head(self, *, end: bool) -> None:
        """Give a held head to the engine; `end`: nothing follows, so gRPC takes it for trailers."""
        fields, self._head = self._head, None
        if fields is not None:
            self._end_told |= end
            try:  # noqa: SIM105 - costs nothing here
                self._connection.engine.send_response(self.id, fields, end_stream=self._end_told)
            except StreamGone:
                pass  # `closed` will tell

    def _send_head_alone(self) -> None:
        """No body came at once."""
        if self._head is not None:
            self._give_head(end=False)
            self._connection.flush()

    def send_body(self, data: bytes, more: bool) -> None:
        """Go on; without `more` the answer is complete."""
        if self._left >= 0:
            data = self._measured(data, more)
        if self._head is not None:
            self._give_head(end=not (data or more))
        connection = self._connection
        if not self._end_told and (data or not more):
            self._end_told = not more
            connection.updates_due += UPDATES * (1 + (len(data) >> 14))
            try:  # noqa: SIM105
                connection.engine.send_data(self.id, data, end_stream=not more)
            except StreamGone:
                pass
        if not more:
            self.complete = True
            connection.response_done(self)
        elif data:
            connection.body_queued(self, len(data))

    def send_trailers(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """End the answer, with these fields if its body has no length and the client takes them."""
        fields = trailer_fields(headers, self._request) if self._left < 0 else []
        if not fields:
            self.send_body(b"", False)
            return
        self._give_head(end=False)
        self._end_told = self.complete = True
        with suppress(StreamGone):
            self._connection.engine.send_trailers(self.id, fields)
        self._connection.response_done(self)

    def refuse(self, status: int, text: str) -> None:
        """A whole answer of the server's own."""
        status, fields, body = refusal(self._request.headers, status, text)
        self.answer(status, fields, None, body)

    def send_continue(self) -> None:
        """`100 Continue`, unless the answer has begun."""
        self.expects_continue = False
        self.send_interim(100, ())

    def send_interim(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """A 1xx answer, if the client may get one now."""
        if not self.started:
            fields = interim_fields(status, headers)
            with suppress(StreamGone):
                self._connection.engine.send_informational_response(self.id, fields)
            self._connection.flush_soon()

    # Ends.

    def queued(self) -> int:
        """Bytes of the answer that wait for the client's window."""
        return self._connection.engine.queued_body_size(self.id)

    def reset_now(self, code: ErrorCode) -> None:
        """End the stream; what has not left yet is lost."""
        self._connection.reset_stream(self, code)

    def cut(self) -> None:
        """Reset the stream, which no client takes for the answer's end (RFC 9113 §8.1)."""
        self._give_head(end=False)
        self._connection.flush()  # what has come of the answer is the client's
        self._connection.reset_stream(self, ErrorCode.INTERNAL_ERROR)

    def abandon(self) -> None:
        """The client has gone, or was cut: nobody takes what has come of its body."""
        self.resume()

    def closed(self, code: int) -> bool:
        """The stream is over in the engine; unless its answer is told, the client has gone.

        Returns whether the client, and not we, has ended it before its time.
        """
        ours, answered = self.reset, self._end_told
        if answered:
            self.resume()
        else:
            self.exchange.disconnect()
        return not ours and (code != 0 or not answered)
