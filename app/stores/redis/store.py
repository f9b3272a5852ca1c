"""Redis and Valkey, with Hipache's keys to the letter (lib/drivers/redis.js, 0.3.1).

Bytes become text as UTF-8; what is none shows as `\\xNN`, so that it can always be logged and
sent. A key of the wrong type (planb keeps strings at `dead:<host>:<url>`) never breaks a lookup.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from redis.exceptions import NoPermissionError, RedisError

from ...errors import StoreUnavailable
from ...routing import Backend, Frontend, Mark, Marks
from ..base import HISTORY, Found, StoreForbids, StoreListener
from . import marks as marks_format
from .check_records import RedisCheckRecords, ping_by_us, scan
from .clock import StoreClock
from .key_changes import KeyChanges
from .keys import DEAD, DEAD_INFO, FRONTEND, OPTIONS, PATHS, KeyNames
from .leases import RedisLeases
from .links import connect, tracker_of
from .listening.listening_seat import seat_in
from .lookups import Lookups
from .presence import CHANGE, Presence
from .questions import QUESTION, RedisQuestions
from .rate_slices import RateSlices
from .replies import text
from .shared_rates import RedisRates
from .url import RedisURL
from .uses import RedisUses

logger = logging.getLogger(__name__)

T = TypeVar("T")
LISTENED = (FRONTEND, PATHS, OPTIONS, DEAD, DEAD_INFO, CHANGE, QUESTION)
"""Kinds of keys whose changes are reported."""
DEAD_CHANNEL = "dead"
"""Without the prefix, as in Hipache: its consumers know no prefix (hipache.md 1.2)."""


class RedisStore:
    """The store of `redis://`, `rediss://`, `unix://` and Sentinel URLs.

    Reads and the tracking connection use the first URL, marks the last one, as Hipache did with
    `[replica, primary]`; prefix and database of the first count for both.
    """

    shares_marks = True

    def __init__(
        self,
        urls: Sequence[RedisURL],
        *,
        timeout: float | None,
        ttl: float = 1.0,
        rates_within: float = 0.1,
        longest_mark: float = math.inf,
        clock: Callable[[], float] = time.time,
        siblings: Path | None = None,
    ) -> None:
        """`timeout` (seconds, None for none) bounds every read and write as a whole.
        `ttl` (seconds): how long routes are believed where changes are never reported.
        `rates_within` (seconds): how long a request waits for the count of its client.
        `longest_mark` (seconds): how long a mark is believed that does not say what it was
        meant for. `clock` gives Unix seconds. `siblings` is a folder of those of which one
        listens for all; None: this one listens for itself."""
        self._ttl = ttl
        first, last = urls[0], urls[-1]
        self.name = first.name
        self.prefix = first.prefix
        self._names = KeyNames(first.prefix, tagged=first.tagged)
        self._timeout = timeout
        self._reading = connect(first, timeout=timeout, bounded=True)
        self._writing = self._reading
        heard = repr([LISTENED, [(url, url.password) for url in urls]])
        self._seat = None if siblings is None else seat_in(siblings, heard)
        if len(urls) > 1:
            primary = replace(last, database=first.database, prefix=first.prefix)
            self._writing = connect(primary, timeout=timeout, bounded=True)
        self._clock = StoreClock(self._writing, clock)
        self._lookups = Lookups(
            self._reading, self._names, self._bounded, self._clock, longest_mark
        )
        self.leases = RedisLeases(self._writing, self.prefix, self._bounded)
        self.uses = RedisUses(self._writing, self._names, self._bounded, self._clock.there)
        self.questions = RedisQuestions(self._reading, self._writing, self.prefix, self._bounded)
        self.rates = RateSlices(RedisRates(self._writing, self.prefix, within=rates_within))
        self.checks = RedisCheckRecords(
            self._reading,
            self._writing,
            self._names,
            self._bounded,
            self._clock.there,
            ping_by_us=ping_by_us(first),
        )

    async def lookup(self, host: str) -> Found | None:
        """One round trip for an exact match or a prefix, two for a wildcard."""
        return await self._lookups.lookup(host)

    async def marks(self, frontend: Frontend) -> Marks:
        """One round trip."""
        return await self._lookups.marks(frontend)

    async def write_mark(
        self, frontend: Frontend, backend: Backend, mark: Mark, *, shared_until: float
    ) -> None:
        """One MULTI: our own entry, the index for old readers, and the announcement. In a cluster
        one after the other: an index without our entry would be somebody else's mark."""
        dead, info = self._mark_keys(frontend)
        if not self._clock.asked:
            with suppress(RedisError):  # then the clocks count as equal
                await self._clock.measure()
        now = self._clock.here()
        written = marks_format.encode_mark(mark, backend.index, now=now, ahead=self._clock.ahead)
        seconds = max(1, math.ceil(min(shared_until, now + 10**8) - now))
        stale_index = await self._written_index(info, backend)
        pipe = self._writing.client.pipeline(transaction=True)
        pipe.hset(info, backend.url, written)
        pipe.expire(info, seconds + HISTORY)
        if stale_index not in (None, backend.index):
            pipe.srem(dead, str(stale_index))
        pipe.sadd(dead, str(backend.index))
        pipe.expire(dead, seconds)
        pipe.publish(DEAD_CHANNEL, marks_format.announcement(frontend, backend))
        await self._bounded(pipe.execute)

    async def erase_mark(self, frontend: Frontend, backend: Backend) -> None:
        """One MULTI, after a look at the index that the mark was written with."""
        dead, info = self._mark_keys(frontend)
        written_index = await self._written_index(info, backend)
        pipe = self._writing.client.pipeline(transaction=True)
        pipe.srem(dead, str(backend.index if written_index is None else written_index))
        pipe.hdel(info, backend.url)
        await self._bounded(pipe.execute)

    async def announce(self, frontend: Frontend, backend: Backend) -> None:
        """What Hipache did while an active checker was alive: PUBLISH, and nothing else."""
        said = marks_format.announcement(frontend, backend)
        await self._bounded(lambda: self._writing.client.publish(DEAD_CHANNEL, said))

    async def marked_keys(self) -> list[str]:
        """Scans all keys of the database."""
        found: set[str] = set()
        for kind in (DEAD, DEAD_INFO):
            start = self.prefix + kind
            async for key in scan(self._reading.client, start, self._bounded):
                found.add(self._names.key_in(key.removeprefix(start)))
        return sorted(found)

    def _mark_keys(self, frontend: Frontend) -> tuple[str, str]:
        return self._names.of(DEAD, frontend.key), self._names.of(DEAD_INFO, frontend.key)

    async def _written_index(self, info: str, backend: Backend) -> int | None:
        # An index left behind after the list was edited would count as a foreign mark on
        # whichever backend stands there now.
        client = self._writing.client
        value = await self._bounded(lambda: client.hget(info, backend.url))
        entry = marks_format.decode_mark(text(value)) if value else None
        return entry.place if entry else None

    async def watch(self, listener: StoreListener) -> None:
        """Track the prefixes of our keys, for ever."""
        presence = Presence(
            self._reading.client, self._writing.client, self.prefix, delay=self._ttl
        )
        changes = KeyChanges(listener, presence, self._names, self.questions.changed)
        prefixes = [self.prefix + kind for kind in LISTENED]
        change = self.prefix + CHANGE
        tracker = tracker_of(
            self._reading, prefixes, on_keys=changes.keys, listener=changes, prepare=self.prepare,
            landmark=change, on_landmark=presence.reported, seat=self._seat,
        )  # fmt: skip
        changes.look = tracker.look
        beside = [
            asyncio.create_task(presence.run(), name="store presence"),
            asyncio.create_task(self._clock.run(listener.everything_changed), name="store clock"),
        ]
        try:
            await tracker.run()
            await asyncio.gather(*beside)
        finally:
            while running := [task for task in beside if not task.done()]:
                # redis-py may swallow one, and our own task may be cancelled again meanwhile.
                for task in running:
                    task.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.wait(running, timeout=0.1)
            await presence.release()

    async def prepare(self) -> None:
        """What must be done before every attempt to connect: nothing for a server of its own."""

    async def aclose(self) -> None:
        """Close every connection."""
        await self.questions.aclose()
        await self.rates.aclose()
        await self._reading.aclose()
        if self._writing is not self._reading:
            await self._writing.aclose()

    async def _bounded(self, command: Callable[[], Awaitable[T]]) -> T:
        task = asyncio.current_task()
        cancelled = task.cancelling() if task else 0
        try:
            async with asyncio.timeout(self._timeout):
                answer = await command()
            if task and task.cancelling() > cancelled:
                # redis-py loses a cancellation that comes while it connects.
                raise asyncio.CancelledError
            return answer
        except TimeoutError:
            raise StoreUnavailable(f"{self.name}: no answer in {self._timeout:g} s") from None
        except NoPermissionError as exc:
            raise StoreForbids(f"{self.name}: {exc}") from exc
        except (RedisError, OSError) as exc:
            raise StoreUnavailable(f"{self.name}: {exc}") from exc
