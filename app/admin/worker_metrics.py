"""The gauges and totals that the parts of one worker report, read once a second."""

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
from .use_noting import noting_uses

Readers = dict[str, Callable[[], float]]


@dataclass(frozen=True, slots=True)
class MetricSources:
    """The parts of one worker that the metrics are read from."""

    server: uvicorn.Server | None
    routes: Routes
    client: UpstreamClient
    gateway: Gateway
    websocket: WebSocketProxy
    log: AccessLog


@asynccontextmanager
async def reporting(meter: Metering | None, sources: MetricSources) -> AsyncIterator[None]:
    """Note uses, collect the metrics and serve them on the admin listener while this is open."""
    async with noting_uses(sources.routes, sources.gateway.loads):
        if meter is None:
            yield
            return
        async with _measuring(meter, sources):
            yield


@asynccontextmanager
async def _measuring(meter: Metering, sources: MetricSources) -> AsyncIterator[None]:
    if (pools := sources.client.pools) is not None:
        pools.on_waited = partial(meter.counters.observe, "queue")
    with LoopLag() as lag:
        async with meter.reporting(
            sources.routes,
            lag,
            gauges=gauges(sources),
            totals=totals(sources),
            busy=sources.gateway.loads,
        ):
            yield


def gauges(sources: MetricSources) -> Readers:
    """Values that go up and down, by their names in `metrics.families`."""
    found: Readers = {
        "in_flight": lambda: sources.gateway.in_flight,
        "web_sockets": lambda: sources.websocket.live,
        "held": lambda: sources.gateway.held.memory.size,
    }
    if (server := sources.server) is not None:
        found["connections"] = lambda: len(server.server_state.connections)
        found["draining"] = lambda: server.should_exit
    if (pools := sources.client.pools) is not None:
        found["queued"] = lambda: sum(pool.queued for pool in pools)
    if (cache := sources.routes.numbers) is not None:
        found["contact"] = cache.contact_age
    return found


def totals(sources: MetricSources) -> Readers:
    """Counts that other modules have kept since the worker started."""
    log = sources.log
    found: Readers = {"log_lines_lost": lambda: log.lost}
    edge = edge_of(sources.server) if sources.server is not None else None
    if edge is not None:
        found["tls_handshakes"] = lambda: edge.handshakes
        found["http2_connections"] = lambda: edge.http2_connections
        found["http2_requests"] = lambda: edge.http2_requests
        found["http2_floods"] = lambda: edge.http2_floods
        found["refused_connections"] = lambda: edge.refused_connections
    if (cache := sources.routes.numbers) is not None:
        found["cache_hits"] = lambda: cache.hits
        found["cache_misses"] = lambda: cache.misses
        found["cache_pushes"] = lambda: cache.pushes
    return found
