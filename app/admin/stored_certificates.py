"""The certificates of the store, as the metrics show them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from heapq import nsmallest
from math import inf
from operator import itemgetter
from time import monotonic

from ..config.structs import Config
from ..errors import StoreUnavailable
from ..stores import driver_of
from ..stores.issuance import IssuanceState
from ..tls.store_certificates import LIST_ANSWER_WITHIN, stored_expiries

READ_EVERY, MOST_STORED = 600.0, 500
"""Seconds between two reads of the store's certificates, and how many of them are shown."""


class StoredCertificates:
    """When they expire, and which could not be ordered.

    A read goes over all keys, so the answer may be READ_EVERY seconds old.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._ends: list[tuple[str, datetime]] = []
        self._states: dict[str, IssuanceState] = {}
        self._read_at = -inf
        self._reading: asyncio.Task[None] | None = None

    def soonest(self) -> list[tuple[str, datetime]]:
        """The certificates that expire first, as last read; starts a new read if one is due."""
        due = self._read_at + READ_EVERY <= monotonic()
        if self._config.https.binds and due and (self._reading is None or self._reading.done()):
            self._reading = asyncio.create_task(self._read(), name="stored certificates")
        return self._ends

    def failing(self) -> Iterator[tuple[str, float]]:
        """Names whose last order failed, as last read, and when the next attempt may be made
        (Unix seconds)."""
        for name, state in self._states.items():
            yield f"tls:{name}", state.not_before

    async def _read(self) -> None:
        with suppress(StoreUnavailable):  # the store reports its outage itself
            found = await stored_expiries(self._config)
            ends = [(name, end) for name, end in found if isinstance(end, datetime)]
            self._ends = nsmallest(MOST_STORED, ends, key=itemgetter(1))
            if self._config.https.acme.agree:
                self._states = await self._read_states()
            self._read_at = monotonic()

    async def _read_states(self) -> dict[str, IssuanceState]:
        folder = self._config.https.acme.folder
        store = driver_of(self._config).issuance(folder, timeout=LIST_ANSWER_WITHIN)
        try:
            states = await store.states()
        finally:
            await store.aclose()
        return dict(list(states.items())[:MOST_STORED])
