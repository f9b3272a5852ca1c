"""What joins a request to the connection that carries it: three interfaces, no code.

A `Receiver` hears the answer to a request. It holds a `BackendStream`: its request on a
connection. HTTP/1.1 carries one request at a time, so a BackendConnection is its own only stream
and a request costs no object more. A protocol that carries several gives one stream to each. A
pool hands out streams that are free, and counts the connections below them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence, Set
from typing import Protocol

from ..errors import UpstreamError
from ..fields.headers import RawHeaders
from ..fields.trailers import Trailers
from .asker import Asker

NEVER = float("inf")
"""A deadline that never comes, or a limit in seconds that is none."""


class Receiver(Protocol):
    """Hears the answer. After `on_end`, `on_whole` or `on_lost` it hears nothing more."""

    @property
    def asker(self) -> Asker | None:
        """The client's request that is answered; None for one of the proxy's own."""

    def on_interim(self, status: int, headers: RawHeaders) -> None:
        """A 1xx answer, but 101; the final one is still to come."""

    def on_head(self, status: int, reason: bytes, headers: RawHeaders) -> None:
        """The final head; names in lower case, framing fields among them."""

    def on_body(self, data: bytes) -> None:
        """A piece of the body, without transfer coding."""

    def on_end(self, trailers: Trailers) -> None:
        """The answer is complete."""

    def on_whole(
        self, status: int, reason: bytes, headers: RawHeaders, body: bytes, trailers: Trailers = ()
    ) -> None:
        """The complete answer, in place of the three calls above: it came in one piece."""

    def on_lost(self, error: UpstreamError) -> None:
        """The answer will not come, or not to its end."""


class BackendStream(Protocol):
    """One request and its answer on a connection, or the room for them."""

    new_future: Callable[[], asyncio.Future[None]]
    connect_time: float | None
    """Seconds that connecting took, None where the connection has served a request before."""

    def is_available(self) -> bool:
        """Whether a request may be written, as far as the event loop knows."""

    def hung_up(self) -> bool:
        """Whether something can be read: asks the kernel.

        Between two requests it is the end, or was not asked for.
        """

    def begin(
        self,
        receiver: Receiver,
        method: bytes,
        target: bytes,
        headers: RawHeaders,
        body: bytes | None = None,
        *,
        upload: bool = False,
        chunked: bool = False,
        trailers: Trailers = (),
    ) -> None:
        """Send a request and tell `receiver` of its answer.

        `body`: the beginning of the body, or None if there is no body. With `upload` more of it
        follows by `write` and `end_request`; else it is whole, with `trailers` behind it.
        `chunked`, where the head announces no length. Raises ValueError or RuntimeError for
        fields that would not stay what they are: `abort` must follow.
        """

    def write(self, parts: Sequence[bytes]) -> None:
        """Send a piece of the request's body. Its parts are not joined, which would copy them."""

    async def drain(self) -> None:
        """Wait until the backend has taken most of what was written."""

    def end_request(self, trailers: Trailers = ()) -> None:
        """The request's body is complete: from now on the answer is due.

        `trailers` follow a chunked body.
        """

    def pause(self) -> None:
        """Stop reading: the asker has enough."""

    def resume(self) -> None:
        """Read on."""

    def abort(self) -> None:
        """Give the request up. Its receiver hears nothing more."""

    def fail(self, error: UpstreamError) -> None:
        """Give the request up, and tell its receiver so."""


class PooledConnection(Protocol):
    """A connection, as the pool sees it."""

    connect_time: float | None
    deadline: float
    """Loop time at which it is due: `expire`, or `close` where it is idle."""

    @property
    def is_idle(self) -> bool:
        """Whether it carries no request. A connection that is not idle may have free streams."""

    def in_use(self) -> Sequence[tuple[Receiver, BackendStream]]:
        """The streams whose request or answer is not complete, and who hears of each."""

    def open_stream(self) -> BackendStream:
        """Its first stream, for the request that it was made for."""

    def retire_from(self, addresses: Set[str]) -> None:
        """Begin no further request if it leads to one of these IP addresses."""

    def expire(self, now: float) -> None:
        """The deadline has passed with a request under way."""

    def close(self) -> None:
        """Close at once. The pool hears of it when it is done."""


class Owner(Protocol):
    """What keeps connections: a pool. Times are seconds, NEVER where there is no limit."""

    tcp_timeout: float
    """Without a byte in either direction."""
    response_timeout: float
    """From the request's last byte to the end of the answer's head."""
    idle_timeout: float
    """Without a request."""
    max_age: float
    """From the connection's beginning to the end of its last request."""

    def on_available(self, stream: BackendStream) -> None:
        """One more request may be sent, on `stream`. Called once for each request."""

    def on_closed(self, connection: PooledConnection) -> None:
        """The socket is gone. Called once."""
