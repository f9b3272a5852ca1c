"""The process that gets certificates: one in each proxy, and one of the whole fleet works.

A lease in the store says which. It moves within LEASE_LASTS when its holder dies; the next
one takes up what is still wanted. What the old one writes after that is refused.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from ...config.acme import AcmeConfig
from ...errors import HipacheError, StoreUnavailable
from ...stores.issuance import IssuanceStore, Wish
from ...stores.tables import RouteTable
from .authority import Authority
from .failures import OrderFailed
from .ordering import AT_ONCE, Ordering
from .schedule import LOOK_AGAIN, RenewalSchedule
from .standing_back import StandingBack

logger = logging.getLogger("hipache.acme")

LEASE_LASTS = 3.0
"""Seconds that the lease lasts. Its holder renews it every BEAT, and the others ask for it."""
BEAT = 0.8
READ_ALL_EVERY = 30.0
"""Seconds between two readings of all certificates while the store reports no changes."""
RENEWALS = 2
"""Orders at once that are not for new names that clients ask for."""
TROUBLED_FOR = 60.0
"""Seconds for which a name is left alone that the store makes trouble with."""
ADVICE_PAUSE = 0.1
"""Seconds between two questions for advice: there may be thousands of certificates."""


class Issuer:
    """All of it, until cancelled."""

    def __init__(
        self,
        settings: AcmeConfig,
        store: IssuanceStore,
        table: RouteTable,
        holder: str,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`holder` must be this process's alone."""
        self._store = store
        self._holder = holder
        self._clock = clock
        self._schedule = RenewalSchedule(settings.directory)
        self._ordering = Ordering(
            settings, store, table, holder, on_ordered=self._ordered, clock=clock
        )
        self._running: dict[str, asyncio.Task[float | None]] = {}
        self._held = False
        self._wake = asyncio.Event()
        self._tracked = False
        self._changed: set[str] = set()
        self._troubled: dict[str, float] = {}
        self._read_all_at = 0.0
        self._standing_back = StandingBack(clock)

    async def run(self) -> None:
        """Work while the lease is held."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._store.watch(self), name="acme changes")
                tasks.create_task(self._keep_lease(), name="acme lease")
                tasks.create_task(self._work(), name="acme work")
                tasks.create_task(self._ask_for_advice(), name="acme advice")
        finally:
            self._cancel()
            self._ordering.close()
            with suppress(StoreUnavailable):  # then it expires by itself
                await self._store.release(self._holder)

    # From the store (stores.issuance.IssuanceListener).

    def tracking(self) -> None:
        """Every change is reported; what was read before may have changed unseen."""
        self._tracked = True
        self._read_all_at = 0.0

    def lost(self, reason: str) -> None:
        """No change is reported."""
        self._tracked = False

    def changed(self, names: Sequence[str] | None) -> None:
        """The certificates of these names changed."""
        if names is None:
            self._read_all_at = 0.0
        else:
            self._changed.update(names)
        self._wake.set()

    def wished(self) -> None:
        """Somebody wants a certificate."""
        self._wake.set()

    # The work.

    async def _keep_lease(self) -> None:
        away = False
        while True:
            try:
                await self._hold()
                away = False
            except StoreUnavailable as exc:
                self._let_go()
                if not away:
                    logger.warning("certificates wait, the store is away cause=%s", exc)
                away = True
            await asyncio.sleep(BEAT)

    async def _work(self) -> None:
        last = ""
        while True:
            if self._held:
                try:
                    await self._look()
                    last = ""
                except StoreUnavailable as exc:
                    if (cause := str(exc)) != last:
                        logger.warning("certificates wait cause=%s", cause)
                    last = cause
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), BEAT)
            self._wake.clear()

    async def _hold(self) -> None:
        if self._standing_back:
            if self._held:
                self._let_go()
                await self._store.release(self._holder)
            return
        held = await self._store.hold(self._holder, LEASE_LASTS)
        if held and not self._held:
            self._held = True
            self._read_all_at = 0.0
            self._wake.set()
            logger.info("certificates are ordered by this process holder=%s", self._holder)
        elif self._held and not held:
            self._let_go()

    def _let_go(self) -> None:
        if self._held:
            logger.info("certificates are ordered elsewhere holder=%s", self._holder)
        self._held = False
        self._cancel()

    def _cancel(self) -> None:
        for task in self._running.values():
            task.cancel()

    async def _look(self) -> None:
        now = self._clock()
        if now >= self._read_all_at:
            await self._read_all(now)
        names, self._changed = self._changed, set()
        for name in names:
            self._schedule.seen(name, await self._store.stands(name))
        for name, wish in (await self._store.wishes()).items():
            self._start(name, wish)
        for name in self._schedule.due(now):
            self._start(name, None)

    async def _read_all(self, now: float) -> None:
        self._read_all_at = float("inf") if self._tracked else now + READ_ALL_EVERY
        self._changed.clear()
        names: set[str] = set()
        async for name, standing in self._store.standing():
            names.add(name)
            self._schedule.seen(name, standing)
        self._schedule.keep_only(names)

    def _start(self, name: str, wish: Wish | None) -> None:
        most = AT_ONCE - RENEWALS if wish is Wish.CLIENT else AT_ONCE
        if name in self._running or len(self._running) >= most:
            return
        if self._standing_back or self._clock() < self._troubled.get(name, 0.0):
            return
        self._troubled.pop(name, None)
        work = self._ordering.get(name, wish, partial(self._schedule.is_known, name))
        task = self._running[name] = asyncio.create_task(work, name=f"acme {name}")
        task.add_done_callback(partial(self._done, name))

    def _done(self, name: str, task: asyncio.Task[float | None]) -> None:
        del self._running[name]
        self._wake.set()
        if task.cancelled():
            return
        match task.exception():
            case None:
                if (again := task.result()) is None:
                    self._changed.add(name)
                else:
                    self._schedule.put_off(name, again)
            case OrderFailed() as exc:
                self._schedule.put_off(name, exc.until)
                if exc.of_the_ca:
                    self._standing_back.failed(exc)
            case exc:
                # A key that is somebody else's, for one: the other names go on.
                self._troubled[name] = self._clock() + TROUBLED_FOR
                ours, text = (
                    isinstance(exc, HipacheError),
                    "certificate not ordered name=%s cause=%s",
                )
                level = logging.WARNING if ours else logging.ERROR
                logger.log(level, text, name, exc, exc_info=None if ours else exc)

    def _ordered(self, name: str) -> None:
        self._standing_back.worked()
        self._schedule.ordered(name, self._clock())

    # Advice (RFC 9773).

    async def _ask_for_advice(self) -> None:
        authority: Authority | None = None
        while True:
            now = self._clock()
            idle = not self._held or self._standing_back
            name = None if idle else self._schedule.to_ask(now)
            if name is None:
                authority = None
                await asyncio.sleep(BEAT)
                continue
            try:
                authority = authority or await self._ordering.directory()
                at, again = await self._ordering.advice(authority, name)
                if at is None:
                    self._schedule.no_advice(now)
                else:
                    self._schedule.advised(name, at, again)
            except (OrderFailed, StoreUnavailable) as exc:
                logger.info("no advice when to renew name=%s cause=%s", name, exc)
                self._schedule.advised(name, None, now + LOOK_AGAIN)
                authority = None
            await asyncio.sleep(ADVICE_PAUSE)
