"""Makes the gateway of a worker, and what decides for it, out of the configuration."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from ..balancing.balancer import Balancer
from ..balancing.sticky import secret_of
from ..config.defaults import default_options
from ..config.structs import Config, ServerConfig
from ..fields.forwarded import ForwardedFields
from ..fields.passing import Passing
from ..fields.via import HopFields, hop_name
from ..logs.writer import AccessLog
from ..metrics.counters import Counters
from ..routing import Frontend
from ..stores import driver_of
from ..stores.mark_news import MarkNews
from ..stores.routes import Routes
from ..system.held_memory import HeldMemory
from ..waking.wakes import Wakes
from .added_fields import AddedFields
from .attempts import Attempts
from .client_memory import ClientMemory
from .debug_fields import DebugFields
from .decision import Decisions, Examine, OwnPath
from .error_pages import ErrorPages
from .gateway import Gateway, WorkerLoad
from .guards.overload import Overload
from .guards.pauses import Pauses
from .health_reports import Checkers, HealthReports
from .observers import (
    AccessLogObserver,
    CountersObserver,
    DebugObserver,
    FailureLogObserver,
    Observer,
    Observers,
)
from .own_responses import OnError, OwnResponses

logger = logging.getLogger("hipache")

Waker: TypeAlias = Callable[[Balancer], Wakes]


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """What a worker calls itself."""

    name: str
    """For those who ask who marked a backend."""
    number: int
    """Under `hipache serve`, for the log."""
    version: str
    """The proxy's."""


def make_gateway(
    config: Config,
    identity: WorkerIdentity,
    routes: Routes,
    *,
    examine: Examine,
    overload: Overload,
    forwarded: ForwardedFields,
    checkers: Checkers,
    log: AccessLog,
    counters: Counters | None,
    observers: Iterable[Observer],
    paths: Mapping[bytes, OwnPath],
    clock: Callable[[], float],
    random: Callable[[], float],
    held: HeldMemory,
    kind: Callable[..., Decisions] = Decisions,
    news: MarkNews = MarkNews(),  # noqa: B008 - immutable
    on_error: OnError | None = None,
    waker: Waker | None = None,
) -> Gateway:
    """The gateway with the observers that the configuration names, and `observers`.

    `clock` gives Unix seconds, `random` numbers from 0 up to 1. `kind` makes its decisions,
    `news` hears of backends that it marks, `waker` makes what wakes frontends. `held` counts
    what is held for clients.
    """
    server, load = config.server, WorkerLoad()
    balancer = make_balancer(config, clock=clock, random=random)
    telling = Observers(
        (*observers, *_observers(config, identity, forwarded, log=log, counters=counters))
    )
    id_field = server.request_id_header
    id_name = None if id_field is None else id_field.lower().encode("ascii")
    reports = HealthReports(
        routes, balancer, server, name=identity.name, clock=clock, checkers=checkers,
        true_client=forwarded.true_client, counters=counters, news=news,
    )  # fmt: skip
    return Gateway(
        added=make_added_fields(config, forwarded),
        decisions=make_decisions(
            config, routes, balancer, examine=examine, overload=overload, paths=paths,
            pauses=Pauses(routes.changed), kind=kind,
        ),
        attempts=Attempts(
            balancer, reports, retries=server.retry_on_error,
            retry_timeouts=server.retry_timeouts, queue_timeout=server.queue_timeout,
            in_flight=load.asking, id_field=id_name, observers=telling,
            wakes=None if waker is None else waker(balancer),
        ),
        responses=OwnResponses(_pages(server), id_name, telling, on_error),
        observers=telling,
        load=load,
        held=ClientMemory(server, held),
        loads=balancer.loads,
    )  # fmt: skip


def make_balancer(
    config: Config, *, clock: Callable[[], float], random: Callable[[], float]
) -> Balancer:
    """The balancer of a worker."""
    return Balancer(
        default_options(config), random=random, clock=clock,
        secret=secret_of(config.balance.secret, config.driver), report=_complain,
    )  # fmt: skip


def make_forwarded(config: Config) -> ForwardedFields:
    """The fields that tell who a client is, as this configuration wants them."""
    server = config.server
    return ForwardedFields(
        server.trusted_proxies.value, forwarded=server.forwarded, protocol=server.forwarded_protocol
    )


def make_added_fields(config: Config, forwarded: ForwardedFields) -> AddedFields:
    """The fields that this proxy adds, and the rules for those of the client.

    Its name in `Via` is the same in all workers.
    """
    server = config.server
    hop = hop_name(*driver_of(config).names, socket.gethostname())
    strangers, trusted = (
        Passing(
            server.drop_fields.value, trusted=trusted, via=server.via,
            ours=(b"forwarded",) if server.forwarded else (),
        )
        for trusted in (False, True)
    )  # fmt: skip
    return AddedFields(
        forwarded, HopFields(hop, via=server.via), strangers=strangers, trusted=trusted
    )


def make_decisions(
    config: Config,
    routes: Routes,
    balancer: Balancer,
    *,
    examine: Examine,
    overload: Overload,
    paths: Mapping[bytes, OwnPath] = MappingProxyType({}),
    kind: Callable[..., Decisions] = Decisions,
    pauses: Pauses | None = None,
) -> Decisions:
    """Decides as this proxy does; `examine` applies the access rules, `paths` are our own."""
    binds = config.https.binds
    return kind(
        routes=routes, options=balancer.options, examine=examine, overload=overload,
        https_port=binds[0].port if binds else 443, paths=paths, pauses=pauses,
    )  # fmt: skip


def _observers(
    config: Config,
    identity: WorkerIdentity,
    forwarded: ForwardedFields,
    *,
    log: AccessLog,
    counters: Counters | None,
) -> Iterable[Observer]:
    server = config.server
    yield FailureLogObserver()
    yield DebugObserver(
        DebugFields(
            server.debug_from, server.debug_secret, forwarded, version=identity.version,
            clock=time.time,
        )
    )  # fmt: skip
    if counters is not None:
        yield CountersObserver(counters)
    if log.enabled:
        yield AccessLogObserver(log.write, forwarded.true_client, identity.number)


def _pages(server: ServerConfig) -> ErrorPages:
    return ErrorPages([Path(d) for d in (server.templates_dir, server.static_dir) if d])


def _complain(frontend: Frontend, problem: str) -> None:
    logger.warning("option unusable frontend=%s cause=%s", frontend.key, problem)
