"""Tells receivers what has died or come back: once for all proxies, and not too often.

Who tells is decided by claims: of all workers that see a backend die, the first one that claims
the backend's new state tells it. The claim lasts for the receiver's pause, so a backend that
flaps is told twice in it at most; at its end the one that told looks how things are by then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic

from ..config.structs import Config
from ..errors import StoreUnavailable
from ..masking import masked_url
from ..metrics.counters import Counters
from ..routing import Backend, Frontend
from ..stores import driver_of
from ..stores.mark_news import MarkNews
from ..stores.routes import Routes
from ..system.background import Background
from ..system.machine_claims import MachineClaims
from ..system.worker_name import worker_name
from ..upstream.client import UpstreamClient
from .alert_events import AlertEvent
from .only_backends import OnlyBackends
from .receiver import AlertReceiver
from .watching import Look, watch_certificates, watch_store

logger = logging.getLogger(__name__)

MOST_PENDING = 1_000
"""Events that wait for a claim."""
ASK_AGAIN = 5.0
"""Seconds until a store that was away is asked again how things are."""
LAST_MESSAGES = 2.0
"""Seconds that a worker that ends has for what it has not sent."""


@dataclass(frozen=True, slots=True)
class _Told:
    receiver: AlertReceiver
    event: AlertEvent
    look: Look
    due: float
    """When the pause ends, on monotonic()."""


class Alerts:
    """What one worker tells. Nothing that requests call here waits."""

    def __init__(
        self, receivers: Sequence[AlertReceiver], routes: Routes, machine: MachineClaims
    ) -> None:
        self._receivers = receivers
        self._routes = routes
        self._machine = machine
        self._pending: deque[tuple[AlertEvent, Look | None]] = deque()
        self._ready = asyncio.Event()
        self._claimed = asyncio.Event()
        self._claimed.set()
        self._told: dict[tuple[str, str, str], _Told] = {}
        self.down: dict[tuple[str, str], str] = {}
        """Dead backends without a mark, by frontend and URL, and the cause."""

    def dead(self, frontend: Frontend, backend: Backend, cause: str, first: bool) -> None:
        """A backend was marked. One that dies while it is dead is no news, and one that sleeps
        is woken."""
        if first and frontend.settings.values.get("wake") is None:
            self.about(frontend, backend, cause)

    def alive(self, frontend: Frontend, backend: Backend) -> None:
        """A backend has shown that it lives."""
        if frontend.settings.values.get("wake") is None:
            self.about(frontend, backend, None)

    def about(self, frontend: Frontend, backend: Backend, cause: str | None) -> None:
        """It is dead because of `cause`, or it lives."""
        look = partial(self._as_it_is, frontend.key, backend.url)
        self.tell(_of_backend(frontend.key, backend.url, cause), look)

    def tell(self, event: AlertEvent, look: Look | None = None) -> None:
        """Tell all who want to hear of it, unless another has; `look` says how it is later."""
        if len(self._pending) >= MOST_PENDING:
            logger.error("alert lost, too many wait text=%s", event.text)
            return
        self._pending.append((event, look))
        self._claimed.clear()
        self._ready.set()

    async def run(self) -> None:
        """Claim and hand over, until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ready.wait(), self._until_due())
            self._ready.clear()
            while self._pending:
                await self._guarded(self._hand_over(*self._pending[0]))
                self._pending.popleft()
            self._claimed.set()
            await self._guarded(self._look_again())

    async def _guarded(self, work: Awaitable[None]) -> None:
        """What fails must not end all that would be told after it."""
        try:
            await work
        except Exception:
            logger.exception("alert failed")

    async def claims(self, name: str, seconds: float, *, everywhere: bool) -> bool:
        """Whether nobody else has claimed it in the last `seconds`."""
        if everywhere and (leases := self._routes.leases) is not None:
            with suppress(StoreUnavailable):
                return await leases.claim(name, seconds)
        return self._machine.claim(name, seconds)

    async def _hand_over(self, event: AlertEvent, look: Look | None) -> None:
        for receiver in self._receivers:
            if event.kind in receiver.alert.on:
                await self._hand_over_to(receiver, event, look)

    async def _hand_over_to(
        self, receiver: AlertReceiver, event: AlertEvent, look: Look | None
    ) -> None:
        pause = max(receiver.alert.pause, event.pause)
        name = event.name_for(receiver.name)
        if not await self.claims(name, pause, everywhere=event.everywhere):
            return
        receiver.put(event)
        if look is not None:
            key = (receiver.name, event.kind_of_subject, event.subject)
            self._told[key] = _Told(receiver, event, look, monotonic() + pause)

    def _until_due(self) -> float | None:
        if not self._told:
            return None
        return max(0.0, min(told.due for told in self._told.values()) - monotonic())

    async def _look_again(self) -> None:
        now = monotonic()
        for key in [key for key, told in self._told.items() if told.due <= now]:
            told = self._told.pop(key)
            try:
                event = await told.look()
            except StoreUnavailable:
                self._told[key] = replace(told, due=now + ASK_AGAIN)
                continue
            wanted = event is not None and event.kind in told.receiver.alert.on
            if event is not None and wanted and event.state != told.event.state:
                await self._hand_over_to(told.receiver, event, told.look)

    async def _as_it_is(self, key: str, url: str) -> AlertEvent | None:
        found = await self._routes.lookup(key)
        if found is None or found.frontend.key != key:
            return None
        if url not in {backend.url for backend in found.frontend.backends}:
            return None
        mark = (await self._routes.read_marks(found.frontend)).get(url)
        cause = self.down.get((key, url)) if mark is None else mark.reason
        return _of_backend(key, url, cause)

    async def flush(self) -> None:
        """Wait until everything was sent, for a short time; say what was not."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_MESSAGES):
                await self._claimed.wait()
                for receiver in self._receivers:
                    await receiver.idle.wait()
        for receiver in self._receivers:
            if receiver.waiting:
                logger.error(
                    "alerts lost, this worker ends to=%s count=%d", receiver.shown, receiver.waiting
                )


def _of_backend(key: str, url: str, cause: str | None) -> AlertEvent:
    shown = masked_url(url)
    said = f"{key}: backend {shown} is "
    facts = {"frontend": key, "backend": shown}
    return AlertEvent(
        kind="alive" if cause is None else "dead",
        subject=f"{key}\0{url}",
        state="alive" if cause is None else "dead",
        text=said + ("alive again" if cause is None else f"dead: {cause}"),
        at=time.time(),
        facts=facts if cause is None else {**facts, "cause": cause},
    )


@asynccontextmanager
async def alerting(
    config: Config,
    routes: Routes,
    client: UpstreamClient,
    counters: Counters | None,
    news: MarkNews,
) -> AsyncIterator[MarkNews]:
    """Who hears of marks: `news`, and the receivers of the configuration, if there are any."""
    if not config.alerts:
        yield news
        return

    def counted(result: str) -> None:
        if counters is not None:
            counters.count("alerts", result)

    def dead(frontend: Frontend, backend: Backend, cause: str, first: bool) -> None:
        news.dead(frontend, backend, cause, first)
        alerts.dead(frontend, backend, cause, first)

    name = worker_name()
    receivers = [AlertReceiver(alert, client, counted, name) for alert in config.alerts]
    alerts = Alerts(receivers, routes, MachineClaims(driver_of(config).name))
    background = Background(lambda reason: None)
    kinds = {kind for alert in config.alerts for kind in alert.on}
    background.spawn(alerts.run(), "alerts")
    for receiver in receivers:
        background.spawn(receiver.run(), "alerts to a receiver")
    if "store" in kinds:
        background.spawn(watch_store(routes, alerts.tell, name), "alerts of the store")
    if "certificate" in kinds:
        background.spawn(
            watch_certificates(config, alerts.tell, alerts.claims), "alerts of certificates"
        )
    heard = MarkNews(dead=dead, alive=alerts.alive)
    if kinds & {"dead", "alive"}:
        only = OnlyBackends(
            routes, client, background, tell=alerts.about, down=alerts.down, name=name
        )
        heard = replace(heard, only_failed=only.failed)
    try:
        yield heard
    finally:
        await alerts.flush()
        await background.aclose()
