"""One receiver of messages: what waits for it, and how it is sent."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic

from ..config.alerts import Alert
from ..masking import masked_path
from ..upstream.client import UpstreamClient
from ..upstream.own_requests import told
from .alert_events import AlertEvent, fields_of, message_of

logger = logging.getLogger(__name__)

COLLECT = 0.5
"""Seconds from the first event to its message: what dies together is told together."""
IN_ONE = 100
"""Events of one message."""
MOST_WAITING = 1_000
"""Events that wait; what comes beyond is counted, and its number is told."""
ANSWER_WITHIN = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between deliveries of one message: each pause is twice as long as the one before."""
TRIED_FOR = 3600.0
"""Seconds after which a message is given up."""
MAY_PASS = frozenset({408, 425, 429})
"""The statuses below 500 after which the same message may be taken later."""


class AlertReceiver:
    """Its events leave in their order."""

    def __init__(
        self, alert: Alert, client: UpstreamClient, counted: Callable[[str], None], proxy: str
    ) -> None:
        """`counted` hears how messages ended; `proxy` is this worker's name."""
        self.alert = alert
        self.name = hashlib.sha256(alert.url.written.encode()).hexdigest()[:16]
        self.shown = masked_path(alert.url.written)
        """For the log."""
        self._client = client
        self._counted = counted
        self._proxy = proxy
        self._events: deque[AlertEvent] = deque()
        self._lost = 0
        self._work = asyncio.Event()
        self.idle = asyncio.Event()
        """Nothing waits."""
        self.idle.set()

    def put(self, event: AlertEvent) -> None:
        """Send it soon."""
        if len(self._events) >= MOST_WAITING:
            self._lost += 1
            self._counted("lost")
            return
        self._events.append(event)
        self.idle.clear()
        self._work.set()

    @property
    def waiting(self) -> int:
        """Events that were not sent yet."""
        return len(self._events)

    async def run(self) -> None:
        """Send what comes, until cancelled."""
        while True:
            await self._work.wait()
            await asyncio.sleep(COLLECT)
            while self._events:
                some = [*self._events][:IN_ONE]
                lost, self._lost = self._lost, 0
                await self._deliver(some, lost)
                for _ in some:
                    self._events.popleft()
            self._work.clear()
            self.idle.set()

    async def _deliver(self, events: Sequence[AlertEvent], lost: int) -> None:
        body = message_of(events, lost=lost, proxy=self._proxy)
        delivery, shown = secrets.token_hex(8), self.shown
        pause, began = FIRST_PAUSE, monotonic()
        while True:
            why, again = await self._post(body, delivery)
            if not why:
                logger.debug("alert sent to=%s events=%d", shown, len(events))
                self._counted("sent")
                return
            again = again and monotonic() - began + pause < TRIED_FOR
            logger.warning(
                "alert not sent to=%s events=%d cause=%s again_in=%s", shown, len(events), why,
                f"{pause:g}s" if again else "never",
            )  # fmt: skip
            if not again:
                self._counted("failed")
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _post(self, body: bytes, delivery: str) -> tuple[str, bool]:
        """Why it was not taken, empty if it was; and whether it may be taken later."""
        fields = fields_of(self.alert, body, delivery=delivery, now=time.time())
        status, why = await told(
            self._client, self.alert.url.value, fields=fields, body=body, within=ANSWER_WITHIN
        )
        return why, not status or status >= 500 or status in MAY_PASS
