"""Active checks: the workers of the whole fleet divide the frontends among them.

Leases in the store decide which worker checks which shard; they move within 5 s when their
holder dies. The results become marks, like the failures that requests meet.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from math import inf
from time import monotonic
from uuid import uuid4

import msgspec

from ..config.structs import Config, HealthCheck
from ..errors import StoreUnavailable
from ..metrics.counters import Counters
from ..proxy.health_reports import Checkers
from ..stores.base import CheckRecords, StoreForbids
from ..stores.mark_news import MarkNews
from ..stores.routes import Routes
from ..upstream.client import UpstreamClient
from ..upstream.destinations import Bound
from .reports import CheckReports
from .rounds import Rounds
from .shards import SHARDS, Shards

logger = logging.getLogger(__name__)

LEASE_LASTS = 2.5
"""Seconds that a lease lasts."""
BEAT = 0.8
"""Seconds after which a holder renews its leases, and every worker looks for free ones."""
WAITING = 2.5
"""A worker that does not count, because there are enough checkers, waits for so many beats. In a
large fleet these are most workers, and each look costs Redis 0.2 ms."""
CONNECT_SHARE = 0.9
"""The share of a check's time that its connection may take."""
LISTEN_EVERY = 5.0
"""Seconds between two looks for the pings of active checkers, in every worker."""


@asynccontextmanager
async def checking(
    config: Config,
    routes: Routes,
    *,
    name: str,
    counters: Counters | None = None,
    listening: Callable[[], Iterable[Bound]] = lambda: (),
    news: MarkNews = MarkNews(),  # noqa: B008 - immutable
) -> AsyncIterator[Checkers]:
    """Listen for active checkers, and be one of them if the configuration wants it.

    `name` must be this worker's alone; `listening` are this proxy's own listeners, which are not
    checked. Routes without a store have no checkers.
    """
    checkers, rights = Checkers(), _Rights()
    if (records := routes.checks) is None:
        yield checkers
        return
    async with AsyncExitStack() as stack:
        if not routes.away:  # so that the first failure already takes them into account
            await _look(config, records, checkers, rights)
        stack.push_async_callback(
            _end, _start(_listen(config, records, checkers, rights), "checkers' pings")
        )
        if (wanted := config.health_check) is not None:
            client = await stack.enter_async_context(
                client_of_checks(config, wanted, listening=listening)
            )
            # A mark stands until the next checks have had the chance to renew it.
            ttl = max(config.server.dead_backend_ttl, 4 * wanted.interval)
            reports = CheckReports(
                routes, checkers, name=name, ttl=ttl, counters=counters, news=news
            )
            rounds = partial(Rounds, wanted, records, client, reports)
            work = _check_in_turn(records, rounds, name, rights)
            stack.push_async_callback(_end, _start(work, "active checks"))
        yield checkers


def client_of_checks(
    config: Config, wanted: HealthCheck, *, listening: Callable[[], Iterable[Bound]] = lambda: ()
) -> UpstreamClient:
    """What sends them. `listening` is as for `checking`."""
    # A check over a kept connection would not notice that no new one can be made. And the check
    # must know in time what it waits for: a silent resolver says nothing about a backend.
    connect = min(config.server.connect_timeout or inf, CONNECT_SHARE * wanted.timeout)
    server = msgspec.structs.replace(config.server, http_keep_alive=False, connect_timeout=connect)
    return UpstreamClient(msgspec.structs.replace(config, server=server), listening=listening)


class _Rights:
    """Says once what the store does not allow. An outage is reported elsewhere."""

    def __init__(self) -> None:
        self._missed: set[str] = set()

    def miss(self, what: str, exc: StoreUnavailable) -> None:
        """`what` could not be done; log it if the store forbids it."""
        if isinstance(exc, StoreForbids) and what not in self._missed:
            self._missed.add(what)
            logger.warning("%s not allowed cause=%s", what, exc)


async def _listen(
    config: Config, records: CheckRecords, checkers: Checkers, rights: _Rights
) -> None:
    while True:
        await asyncio.sleep(LISTEN_EVERY)
        await _look(config, records, checkers, rights)


async def _look(config: Config, records: CheckRecords, checkers: Checkers, rights: _Rights) -> None:
    every = config.health_check is not None and config.health_check.path is not None
    try:
        pings = await records.pings()
        checkers.foreign, checkers.ours = pings.foreign, pings.ours and every
    except StoreUnavailable as exc:
        # Other checkers cannot reach the store either: our own marks are all there is.
        rights.miss("to notice other checkers", exc)
        checkers.foreign = checkers.ours = False


async def _check_in_turn(
    records: CheckRecords, rounds: Callable[[Shards], Rounds], name: str, rights: _Rights
) -> None:
    """Keep asking for our share of the shards, and check while there is one."""
    # Two containers may have the same name and the same process numbers.
    holder, shards = f"{name}:{uuid4().hex[:8]}", Shards()
    work: asyncio.Task[None] | None = None
    ours = False
    try:
        while True:
            held = await _hold(records, holder, shards, rights)
            if work is not None and (work.done() or not held):
                await _end(work)
                work = None
            elif held and work is None:
                work = _start(rounds(shards).run(), "rounds of checks")
            if held is not ours:
                ours = held
                logger.info(f"active checks {'begin' if held else 'end'} name=%s", name)
            await asyncio.sleep(BEAT * (WAITING if shards.waiting else 1))
    finally:
        if work is not None:
            await _end(work)
        if shards.counted:
            with contextlib.suppress(StoreUnavailable):  # then the leases expire by themselves
                await records.release(holder)


async def _hold(records: CheckRecords, holder: str, shards: Shards, rights: _Rights) -> bool:
    ends = monotonic() + LEASE_LASTS
    try:
        leases = await records.hold(holder, LEASE_LASTS, SHARDS, shards.undone())
        shards.renew(leases, ends)
    except StoreUnavailable as exc:
        rights.miss("active checks", exc)
        shards.lose()
    return bool(shards.held)


def _start(work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
    return asyncio.create_task(work, name=name)


async def _end(work: asyncio.Task[None]) -> None:
    """Cancel and wait; log the error that ended it, unless the store was away."""
    work.cancel()
    await asyncio.wait({work})
    error = None if work.cancelled() else work.exception()
    if isinstance(error, ExceptionGroup) and not error.split(StoreUnavailable)[1]:
        logger.warning("active checks interrupted cause=%s", error.exceptions[0])
    elif error is not None:
        logger.error("%s failed", work.get_name(), exc_info=error)
