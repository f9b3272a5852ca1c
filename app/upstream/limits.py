"""What one worker asks of each backend at most, and how long it waits for it."""

from __future__ import annotations

from dataclasses import dataclass

from ..config.structs import ServerConfig
from .backend_stream import NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """Per origin and worker. Times are seconds, NEVER where there is no limit."""

    max_sockets: int = 100
    connect: float = 3.0
    response: float = 30.0
    tcp: float = 30.0
    queue: float = 5.0
    queued: int = 1000  # 0: as many as come
    grace: float = 2.0  # of a client that does nothing while others wait
    idle: float = 60.0
    age: float = NEVER
    keep_alive: bool = True
    ping: float = 10.0  # of silence on a connection of HTTP/2
    resolve: float = 30.0  # until an address that a name has no longer is left

    @property
    def step(self) -> float:
        """Seconds between two sweeps: an eighth of the shortest limit that a sweep enforces."""
        shortest = min(self.response, self.tcp, self.queue, self.idle, self.resolve, self.ping)
        return min(max(shortest / 8, 0.01), 1.0)


def pool_limits(server: ServerConfig) -> PoolLimits:
    """What `server` sets. Zero switches a limit off."""
    response = server.response_timeout
    return PoolLimits(
        max_sockets=server.max_sockets,
        connect=server.connect_timeout or NEVER,
        response=(server.tcp_timeout if response is None else response) or NEVER,
        tcp=server.tcp_timeout or NEVER,
        queue=server.queue_timeout or NEVER,
        queued=server.max_queue,
        grace=server.slow_client_grace or NEVER,
        idle=server.backend_idle_timeout or NEVER,
        age=server.backend_max_age or NEVER,
        keep_alive=server.http_keep_alive,
        ping=server.backend_ping or NEVER,
        resolve=server.resolve_interval,
    )
