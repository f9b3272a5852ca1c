"""Puts the parts together: `create_app` makes the ASGI application of one worker."""

from __future__ import annotations

import logging
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import parent_process
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette

from .admin.metering import Supervision, metering, own_listeners, supervisor_of
from .admin.worker_metrics import MetricSources, reporting
from .alerts.alerting import alerting
from .application import Application, Extension, FirstRequest
from .checks.fleet import checking
from .config.file import here, load
from .config.structs import Config, ServerConfig
from .errors import EX_CONFIG, ConfigError
from .hooks.hook_calls import HookCalls, hook_calls
from .hooks.hook_loading import load_hooks
from .hooks.hook_moments import hooked_by
from .logs.proxy_log import OURS, set_up
from .logs.writer import AccessLog, access_log
from .metrics.counters import Counters
from .proxy.acme_challenges import acme_in_worker
from .proxy.assembly import WorkerIdentity, make_forwarded, make_gateway
from .proxy.fast_path import FastPath
from .proxy.gateway import Gateway
from .proxy.guards.gate import Gate
from .proxy.guards.overload import Overload
from .proxy.guards.rate_limits import RateLimits
from .proxy.health_reports import Checkers
from .proxy.http_proxy import HttpProxy
from .proxy.tracing import check_tracing, tracing
from .recorder.recorder import flight_recorder
from .server.edge import ClientLimits, Edge
from .server.refused_record import recording
from .server.running import Supervised, configure, way_to_recycle
from .stores import driver_of, open_store
from .stores.mark_news import MarkNews
from .stores.routes import Routes
from .system.garbage import rare_collections
from .system.held_memory import HeldMemory
from .system.http2_extra import check_http2
from .system.loop_lag import LoopLag
from .system.memory_watch import Counting, Counts, MemoryWatch
from .system.release import version
from .system.shared_folder import shared_by_workers
from .system.worker_name import worker_name, worker_number
from .tls.acme.installed import check_installed
from .upstream.client import UpstreamClient, upstream_client
from .waking.waker import waking
from .websocket.protocol import install
from .websocket.proxy import WebSocketProxy

logger = logging.getLogger("hipache")

UVICORN_GIVE_UP = 3
"""uvicorn's supervisor ends the service on this exit status; on others it restarts the worker."""


def create_app(
    config: Config | None = None,
    *,
    store: Routes | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    supervision: Supervision | None = None,
    clock: Callable[[], float] = time.time,
    random: Callable[[], float] = random.random,
    extension: Extension = Extension(),  # noqa: B008 - it has no state
) -> Starlette:
    """The proxy as an ASGI application, one per worker.

    Without `config`, the configuration is read as `hipache serve` reads it. `store`
    and `transport` replace the configured driver and our connections; any httpx
    transport works, such as `httpx.MockTransport`. `supervision` is what `hipache
    serve` gives its workers. `clock` (Unix seconds) ends marks, and `random` (from 0 up to 1)
    chooses: `hipache.testing` has both stand still. `extension` is what `hipache chp` adds.
    """
    config = config or _configured()

    @asynccontextmanager
    async def lifespan(app: Application) -> AsyncIterator[None]:
        edge, server = _edge(config)
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            shared = stack.enter_context(shared_by_workers(supervisor_of(supervision)))
            meter = stack.enter_context(metering(config, supervision, worker_number(), shared))
            own = partial(own_listeners, config, server, meter)
            routes = await enter(_started(config, store, shared))
            log = await enter(_access_log(config.server))
            client = await enter(upstream_client(config, shared, own, transport))
            counters = meter.counters if meter else None
            calls, news = await enter(_told_of_marks(config, routes, client, counters))
            watch = partial(checking, config, routes, name=worker_name(), counters=counters)
            checkers = await enter(watch(listening=own, news=news))
            gateway = await _gateway(stack, config, edge, _Parts(
                routes=routes, client=client, checkers=checkers, calls=calls, news=news, log=log,
                counters=counters, shared=shared, extension=extension, clock=clock, random=random,
            ))  # fmt: skip
            edge.on_refusal = recording(gateway.refused)
            http = HttpProxy(gateway, client)
            web_sockets = WebSocketProxy(gateway, client.upgrade, config.server)
            stack.push_async_callback(web_sockets.aclose)
            if server and server.config.loaded_app is app and app.goes_straight_to(endpoint):
                edge.fast_path = FastPath(gateway, client, http, counts.request).begin
                edge.tunnels = not config.server.web_socket_relay
            await enter(_memory_watch(config, counts, server, counters))
            sources = MetricSources(server, routes, client, gateway, web_sockets, log)
            await enter(reporting(meter, sources))
            await enter(extension.running(client, web_sockets))
            endpoint.serve_with(http, web_sockets)
            yield

    counts = Counts()
    app = Application(lifespan=lifespan)
    app.add_middleware(Counting, counts)
    app.router.default = endpoint = FirstRequest(app).endpoint
    return app


@asynccontextmanager
async def _started(config: Config, store: Routes | None, at: Path | None) -> AsyncIterator[Routes]:
    routes = open_store(config, at) if store is None else store  # one without routes may be false
    await routes.start()
    async with aclosing(routes):
        yield routes


@asynccontextmanager
async def _told_of_marks(
    config: Config, routes: Routes, client: UpstreamClient, counters: Counters | None
) -> AsyncIterator[tuple[HookCalls, MarkNews]]:
    routes.share_marks(client.team)
    async with (
        hook_calls(config, make_forwarded(config).true_client) as calls,
        alerting(config, routes, client, counters, calls.news) as news,
    ):
        yield calls, news


def _access_log(server: ServerConfig) -> AbstractAsyncContextManager[AccessLog]:
    target = None if server.access_log is None else server.access_log.value
    return access_log(target, server.access_log_format.value)


def _edge(config: Config) -> tuple[Edge, uvicorn.Server | None]:
    """Our edge, and the uvicorn server that it is installed in; None for another server."""
    edge = Edge(ClientLimits.of(config.server), HeldMemory(config.server.retry_memory))
    edge.prior_knowledge = config.http.http2
    server = configure(edge)
    if server is not None:
        install(server.config, config.server)
    if config.https.binds and not isinstance(server, Supervised):
        logger.warning("https.bind is served by 'hipache serve' only")
    if config.https.acme.agree and not isinstance(server, Supervised):
        logger.warning("https.acme: certificates are ordered under 'hipache serve' only")
    return edge, server


def _memory_watch(
    config: Config, counts: Counts, server: uvicorn.Server | None, counters: Counters | None
) -> MemoryWatch:
    memory = config.memory
    way = way_to_recycle(server, grace=memory.graceful_wait, exit_alone=memory.exit_alone)

    def recycle(why: str) -> None:
        assert way is not None
        if counters is not None:
            counters.count("recycles", why)
        way(why)

    return MemoryWatch(
        memory, counts, recycle if way is not None else None,
        connections=lambda: len(server.server_state.connections) if server else 0,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What a worker has before its gateway, and the gateway is made of."""

    routes: Routes
    client: UpstreamClient
    checkers: Checkers
    calls: HookCalls
    news: MarkNews
    log: AccessLog
    counters: Counters | None
    shared: Path | None
    extension: Extension
    clock: Callable[[], float]
    random: Callable[[], float]


async def _gateway(stack: AsyncExitStack, config: Config, edge: Edge, parts: _Parts) -> Gateway:
    """The gateway; its guards and its observers end with `stack`."""
    routes, counters, calls, extension = parts.routes, parts.counters, parts.calls, parts.extension
    enter = stack.enter_async_context
    paths = await enter(acme_in_worker(config, routes, edge))
    forwarded = make_forwarded(config)
    overload = Overload(config.server.max_loop_lag, time.monotonic)
    stack.enter_context(LoopLag(on_measured=overload.look))
    stack.enter_context(rare_collections())
    gate = Gate(forwarded.true_client, parts.client, RateLimits(time.monotonic, routes.rates))
    stack.callback(gate.close)
    identity = WorkerIdentity(worker_name(), worker_number(), version())
    spans = await enter(tracing(config, forwarded, worker_name(), version()))
    recorder = stack.enter_context(flight_recorder(
        config, parts.shared, identity, routes, counters=counters, true_client=forwarded.true_client
    ))  # fmt: skip
    hooked = hooked_by(calls)
    waker = await enter(waking(routes, parts.client, counters, parts.news, worker_name()))
    return make_gateway(
        config, identity, routes, examine=gate.examine, overload=overload, forwarded=forwarded,
        checkers=parts.checkers, log=parts.log, counters=counters, clock=parts.clock,
        random=parts.random, paths={**paths, **extension.paths}, on_error=extension.on_error,
        observers=(*extension.observers, *hooked.observers, *spans, *recorder),
        kind=hooked.kind, news=parts.news, held=edge.held, waker=waker,
    )  # fmt: skip


def _configured() -> Config:
    """Read the configuration. An error ends the process with one line, without a traceback."""
    try:
        config = load(None, os.environ, here())
        check_tracing(config)
        check_http2(config)
        check_installed(config)
        driver_of(config)
        load_hooks(config)
    except ConfigError as exc:
        print(f"hipache: {exc}", file=sys.stderr)
        raise SystemExit(UVICORN_GIVE_UP if parent_process() else EX_CONFIG) from None
    loggers = (*OURS, "opentelemetry")
    set_up(config.server.log_format, debug=config.server.debug, loggers=loggers)
    for warning in config.warnings:
        logger.warning("%s", warning)
    return config
