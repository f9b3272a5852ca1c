"""What is looked at for alerts now and then: whether the store is there, and certificates."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeAlias

from ..config.alerts import AlertKind
from ..config.structs import Config
from ..errors import HipacheError
from ..stores import driver_of
from ..stores.routes import Routes
from ..tls.listener import expiries
from ..tls.store_certificates import LIST_ANSWER_WITHIN, stored_expiries
from .alert_events import AlertEvent

logger = logging.getLogger(__name__)

Look: TypeAlias = Callable[[], Awaitable[AlertEvent | None]]
"""How what an event was about is now; None: there is nothing to tell of it."""
Tell: TypeAlias = Callable[[AlertEvent, Look | None], None]

LOOK_EVERY = 1.0
"""Seconds between two looks at the store."""
AWAY_FOR = 5.0
"""Seconds after which a store that is away is told: one that restarts is back by then."""

FIRST_LOOK = 5.0
"""Seconds after the start of a worker."""
CERTIFICATES_EVERY = 600.0
"""Seconds between two looks at all certificates."""
SOON = timedelta(days=21)
"""As `hipache doctor` warns."""
SOON_ORDERED = timedelta(days=2)
"""For those in the store where the proxies order them: the order that failed was told before."""
DAY = 86_400.0
"""Seconds until the same is told again of a certificate."""


class ClaimToTell(Protocol):
    """alerting.Alerts.claims"""

    async def __call__(self, name: str, seconds: float, *, everywhere: bool) -> bool: ...


async def watch_store(routes: Routes, tell: Tell, proxy: str) -> None:
    """Tell when it is away, and when it is back; until cancelled."""
    machine = proxy.partition(":")[0]

    async def look() -> AlertEvent:
        return _of_store("away" if routes.away else "back", machine)

    since: float | None = None
    told = False
    while True:
        now = time.monotonic()
        if not routes.away:
            if told:
                tell(_of_store("back", machine), look)
            since, told = None, False
        elif since is None:
            since = now
        elif not told and now - since >= AWAY_FOR:
            tell(_of_store("away", machine), look)
            told = True
        await asyncio.sleep(LOOK_EVERY)


def _of_store(state: str, machine: str) -> AlertEvent:
    text = f"{machine}: the store is {state}"
    if state == "away":
        text += ": known routes are served, every other request gets 503"
    return _event("store", machine, state, text, everywhere=False)


async def watch_certificates(config: Config, tell: Tell, claim: ClaimToTell) -> None:
    """Tell which expire soon, have expired or could not be ordered; until cancelled."""
    pause = FIRST_LOOK
    while config.https.binds:
        await asyncio.sleep(pause)
        pause = CERTIFICATES_EVERY
        try:
            async for event in _looked_at(config, claim):
                tell(event, None)
        except HipacheError as exc:
            logger.debug("certificates not looked at cause=%s", exc)


async def _looked_at(config: Config, claim: ClaimToTell) -> AsyncIterator[AlertEvent]:
    for path, until in await asyncio.to_thread(lambda: [*expiries(config.https.binds)]):
        if event := of_certificate(path, until, SOON, everywhere=False):
            yield event
    # To read those of the store is work: one worker of the fleet does it.
    if not await claim("alert:certificates", 0.9 * CERTIFICATES_EVERY, everywhere=True):
        return
    soon = SOON_ORDERED if config.https.acme.agree else SOON
    for name, until in await stored_expiries(config):
        if event := of_certificate(name, until, soon, everywhere=True):
            yield event
    if config.https.acme.agree:
        store = driver_of(config).issuance(config.https.acme.folder, timeout=LIST_ANSWER_WITHIN)
        try:
            states = await store.states()
        finally:
            await store.aclose()
        for name, state in states.items():
            text = f"tls:{name}: no certificate could be ordered: {state.error}"
            yield _event("certificate", f"tls:{name}", "not ordered", text)


def of_certificate(
    subject: str, until: datetime | str, soon: timedelta, *, everywhere: bool
) -> AlertEvent | None:
    """What there is to tell of a certificate that ends at `until`, or why that is unknown."""
    if not isinstance(until, datetime):
        text = f"{subject}: the certificate cannot be used: {until}"
        return _event("certificate", subject, "unusable", text, everywhere=everywhere)
    left = until - datetime.now(UTC)
    if left > soon:
        return None
    state = "expired" if left < timedelta(0) else "expires"
    text = f"{subject}: the certificate {state} on {until:%Y-%m-%d %H:%M} UTC"
    return _event("certificate", subject, state, text, everywhere=everywhere)


def _event(
    kind: AlertKind, subject: str, state: str, text: str, *, everywhere: bool = True
) -> AlertEvent:
    facts = {"certificate": subject} if kind == "certificate" else {"machine": subject}
    return AlertEvent(
        kind=kind, subject=subject, state=state, text=text, at=time.time(), facts=facts,
        everywhere=everywhere, pause=DAY if kind == "certificate" else 0.0,
    )  # fmt: skip
