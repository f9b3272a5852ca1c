"""Where the metrics' states and totals come from: the parts of one worker, asked once a second."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import uvicorn

from ..logs.writer import AccessLog
from ..proxy.gateway import Gateway
from ..server.running import edge_of
from ..stores.routes import Routes
from ..system.loop_lag import LoopLag
from ..upstream.client import UpstreamClient
from ..websocket.proxy import WebSocketProxy
from .metering import Metering

Figures = dict[str, Callable[[], float]]


@dataclass(frozen=True, slots=True)
class Parts:
    """What knows something that is worth telling."""

    server: uvicorn.Server | None
    routes: Routes
    client: UpstreamClient
    gateway: Gateway
    websocket: WebSocketProxy
    log: AccessLog


@asynccontextmanager
async def told(meter: Metering | None, parts: Parts) -> AsyncIterator[None]:
    """Have all of it in the metrics, and these on the admin listener, while this is open."""
    if meter is None:
        yield
        return
    if (pools := parts.client.pools) is not None:
        pools.on_waited = partial(meter.counters.observe, "queue")
    with LoopLag() as lag:
        async with meter.told(
            parts.routes,
            lag,
            gauges=states(parts),
            totals=totals(parts),
            busy=parts.gateway.loads,
        ):
            yield


def states(parts: Parts) -> Figures:
    """What goes up and down, by the names of `metrics.families`."""
    found: Figures = {
        "in_flight": lambda: parts.gateway.in_flight,
        "web_sockets": lambda: parts.websocket.live,
    }
    if (server := parts.server) is not None:
        found["connections"] = lambda: len(server.server_state.connections)
        found["draining"] = lambda: server.should_exit
    if (pools := parts.client.pools) is not None:
        found["queued"] = lambda: sum(pool.queued for pool in pools)
    if (cache := parts.routes.numbers) is not None:
        found["contact"] = cache.contact_age
    return found


def totals(parts: Parts) -> Figures:
    """What others have counted since the worker began."""
    log = parts.log
    found: Figures = {"log_lines_lost": lambda: log.lost}
    edge = edge_of(parts.server) if parts.server is not None else None
    if edge is not None:
        found["tls_handshakes"] = lambda: edge.handshakes
        found["refused_connections"] = lambda: edge.refused_connections
    if (cache := parts.routes.numbers) is not None:
        found["cache_hits"] = lambda: cache.hits
        found["cache_misses"] = lambda: cache.misses
        found["cache_pushes"] = lambda: cache.pushes
    return found
