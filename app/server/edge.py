"""What the connections of one worker share: limits, counters, the clock, and the drain."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Protocol

from ..config.http2_limits import Http2Limits
from ..fields.networks import UNIX, Peers
from ..frontends.rates import one_client
from ..system import open_files
from ..system.held_memory import HEADS, HeldBytes, HeldMemory
from .read_brake import Braked, ReadBrake
from .shared_heads import SharedHeads

if TYPE_CHECKING:
    from ..config.structs import ServerConfig
    from .accept_share import AcceptShare
    from .exchange import Exchange
    from .peer import Peer
    from .refusal import Refusal
    from .request_head import RequestHead

logger = logging.getLogger(__name__)

MINUTE = 60.0
NO_DEADLINE = float("inf")
"""The deadline of a connection that waits for nothing."""

NOBODY = Peers()
HTTP2_LIMITS = Http2Limits()

BeforeNamed = Callable[[Callable[[str], bool], socket.socket], Awaitable[None] | None]
OnRefusal = Callable[["Peer", bytes, "Refusal"], object]
"""Gets the peer, the head as far as it came, and why the request was refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """What a client may do. Sizes are bytes, times are seconds; 0 means no limit."""

    request_line: int = 16384
    """Longer ones are answered 414."""
    head: int = 65536
    """Request line and fields together; 431."""
    headers: int = 200
    """Fields; 431."""
    body: int = 0
    """Longer ones are answered 413, chunked ones as soon as they are too long."""
    header_timeout: float = 10.0
    """From the first byte (or the connect) to the end of the head; 408."""
    keep_alive_timeout: float = 75.0
    """Silence between two requests before the connection is closed."""
    idle_timeout: float = 30.0
    """A body that does not arrive (408), an answer that is not read (cut)."""
    requests: int = 0
    """Requests per connection."""
    http2: Http2Limits = HTTP2_LIMITS
    """What a connection over HTTP/2 may ask for beside that."""
    connections: int = 0
    """Connections per worker. 0: as many as half of the open files allow, as each may need
    another one to a backend."""
    connections_per_address: int = 0
    forwarders: Peers = NOBODY
    """Our own proxies: they connect for many clients, so they are not limited per address."""
    half_close_probe: float = 1.0
    """From a client's FIN to the probe whether it still listens."""
    drain_grace: float = 1.0
    """How long we still listen to an idle connection when the worker drains."""

    @classmethod
    def of(cls, server: ServerConfig) -> ClientLimits:
        """The limits that the configuration sets."""
        return cls(
            request_line=server.max_request_line,
            head=server.max_header_size,
            headers=server.max_headers,
            body=server.max_body,
            header_timeout=server.header_timeout,
            keep_alive_timeout=server.keep_alive_timeout,
            idle_timeout=server.tcp_timeout,
            requests=server.max_requests_per_connection,
            http2=server.http2,
            connections=server.max_connections,
            connections_per_address=server.max_connections_per_address,
            forwarders=server.trusted_proxies.value,
        )


class Swept(Braked, Protocol):
    """A connection with a deadline, which the sweep looks after."""

    deadline: float
    """On `Edge.now`'s clock, or NO_DEADLINE."""

    def expire(self) -> None:
        """The deadline is over; set a new one, or close."""


class Edge:
    """One worker's edge.

    One sweep a second looks after all deadlines: a timer per request would cost
    more than parsing the request. So a timeout comes up to one sweep late.
    """

    def __init__(
        self,
        limits: ClientLimits | None = None,
        held: HeldMemory | None = None,
        *,
        sweep_interval: float = 1.0,
    ) -> None:
        """`held` bounds what clients may have us hold; without it nothing does."""
        self.limits = limits or ClientLimits()
        self.max_connections = self.limits.connections or connections_from_files()
        self.held = held or HeldMemory()
        self.sweep_interval = sweep_interval
        self.now = 0.0
        self.draining = False
        self.fast_path: Callable[[Exchange, RequestHead], bool] | None = None
        """Takes over a request, of whose body more may be to come, and says whether it did; None
        under another application than ours."""
        self.before_handshake: BeforeNamed | None = None
        """What a handshake has to wait for. It gets the question whether the listener has a
        certificate for a name. None where nobody waits for certificates."""
        self.stopping: Callable[[], bool] = lambda: False
        """Whether the server is about to end; uvicorn does not tell new connections."""
        self.on_refusal: OnRefusal = lambda peer, head, refusal: None
        """Called for each request that is refused before the application sees it."""
        self.tunnels = False
        """Whether the application answers WebSockets with a tunnel, which HTTP/2 needs."""
        self.prior_knowledge = False
        """Whether a connection without TLS may begin with HTTP/2."""
        self.connections: set[Swept] = set()
        self.accept_share: AcceptShare | None = None
        """Told how many connections there are; None where a worker takes what comes."""
        self.shared_heads = SharedHeads()
        self.uploads = ReadBrake(self.connections)
        self.by_address: dict[str, int] = {}
        self.client_of = lru_cache(maxsize=4096)(self._client_of)
        self.total_requests = 0
        self.handshakes = 0  # of TLS, with clients
        self.http2_connections = 0
        self.http2_requests = 0
        self.http2_floods = 0
        self.refused_connections = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._last_warning = -MINUTE

    # Connections.

    def admit(self, connection: Swept, address: str, loop: asyncio.AbstractEventLoop) -> str | None:
        """Count a new connection. The text, if any, says which limit it exceeds.

        It is counted once, even if that was at the start of its TLS handshake.
        """
        if self._sweeper is None:
            self.now = loop.time()
            self._sweeper = loop.call_later(self.sweep_interval, self._sweep, loop)
        if connection in self.connections:
            return None
        self.connections.add(connection)
        if self.accept_share is not None:
            self.accept_share.took(len(self.connections))
        client = self.client_of(address)
        if client is not None:
            self.by_address[client] = self.by_address.get(client, 0) + 1
        if len(self.connections) > self.max_connections:
            return self._warn("too many connections", self.max_connections)
        most = self.limits.connections_per_address
        if most and client is not None and self.by_address[client] > most:
            return self._warn("too many connections from one address", most)
        return None

    def release(self, connection: Swept, address: str) -> None:
        """Stop counting a connection."""
        if connection not in self.connections:
            return
        self.connections.remove(connection)
        if self.accept_share is not None:
            self.accept_share.lost(len(self.connections))
        client = self.client_of(address)
        if client is not None:
            left = self.by_address[client] - 1
            if left:
                self.by_address[client] = left
            else:
                del self.by_address[client]

    def _client_of(self, address: str) -> str | None:
        """The client that connections from `address` count for; None if they are not limited."""
        if not address or address == UNIX or self.limits.forwarders.match(address):
            return None
        return one_client(address)

    def held_for(self, address: str) -> HeldBytes:
        """What a connection from `address` has us hold of requests that have not begun."""
        return HeldBytes(self.held, partial(self.client_of, address), HEADS)

    @property
    def flooded(self) -> bool:
        """Whether there are so many connections that even a refusal would cost too much."""
        return len(self.connections) > self.max_connections + self.max_connections // 8 + 16

    def _warn(self, text: str, limit: int) -> str:
        self.refused_connections += 1
        if self.now - self._last_warning >= MINUTE:
            self._last_warning = self.now
            logger.warning(
                "refusing connections reason=%r limit=%d open=%d refused=%d",
                text,
                limit,
                len(self.connections),
                self.refused_connections,
            )
        return text

    def replace(self, connection: Swept, successor: Swept) -> None:
        """Count `successor` in the place of a connection that makes way for it."""
        self.connections.remove(connection)
        self.connections.add(successor)

    # Time.

    def after(self, seconds: float) -> float:
        """The deadline `seconds` from now, never early, although `now` may lag one sweep."""
        return self.now + seconds + self.sweep_interval if seconds else NO_DEADLINE

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = self.now = loop.time()
        for connection in [c for c in self.connections if c.deadline <= now]:
            connection.expire()
        if self.connections:
            self._sweeper = loop.call_later(self.sweep_interval, self._sweep, loop)
        else:
            self._sweeper = None


def connections_from_files() -> int:
    """How many connections the soft limit of open files allows, at two files each."""
    return max(1, (open_files.limit() - open_files.KEPT) // 2)
