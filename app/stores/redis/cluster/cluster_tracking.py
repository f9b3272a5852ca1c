"""A tracking connection to each primary of a cluster, and what they know together."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum, auto
from functools import partial
from typing import Any

from redis.exceptions import RedisError

from ..tracking import Tracker, TrackingListener, at_once
from .cluster_connections import ClusterConnections
from .slot_map import Address, SlotMap, slot_of

logger = logging.getLogger(__name__)

LEARN_EVERY = 1.0
"""Seconds between two looks at who has which slots. A primary that is new takes writes which
nobody reports here before it is known."""
LEARN_AT_MOST_EVERY = 0.1


class ShardState(Enum):
    """What is known of one primary."""

    NEW = auto()
    TRACKING = auto()
    LOST = auto()
    AWAY = auto()
    REFUSED = auto()


class Shard:
    """The tracker of one primary, and its TrackingListener."""

    def __init__(self, told: Callable[[], None], alive: Callable[[], None]) -> None:
        """`told` is called when the state may be another, `alive` at each sign of life."""
        self.state = ShardState.NEW
        self.reason = ""
        self.seen = asyncio.Event()
        """All that was changed before the last look has been reported, or nobody will."""
        self.tracker: Tracker | None = None
        self.task: asyncio.Task[None] | None = None
        self._told, self.heard = told, alive

    def tracking(self) -> None:
        """It reports every change from now on."""
        self._is(ShardState.TRACKING)

    def lost(self, reason: str) -> None:
        """It reports no change."""
        self._is(ShardState.LOST, reason)

    def unreachable(self, reason: str) -> None:
        """It does not answer."""
        self._is(ShardState.AWAY, reason)

    def refused(self, reason: str) -> None:
        """It never reports changes."""
        self._is(ShardState.REFUSED, reason)

    def partly(self, unseen: Callable[[str], bool]) -> None:
        """One server reports all or nothing."""

    def _is(self, state: ShardState, reason: str = "") -> None:
        self.state, self.reason = state, reason
        if state is not ShardState.TRACKING:
            self.seen.set()
        self._told()

    def look(self) -> None:
        """Begin to wait for all changes that were made before."""
        if self.state is ShardState.TRACKING and self.tracker is not None:
            self.seen.clear()
            self.tracker.look()


class ClusterTracker:
    """Keeps one Tracker for each primary."""

    def __init__(
        self,
        link: ClusterConnections,
        prefixes: Sequence[str],
        *,
        on_keys: Callable[[list[bytes] | None], None],
        listener: TrackingListener,
        landmark: str,
        on_landmark: Callable[[bytes], None],
    ) -> None:
        """As for Tracker. The value of `landmark` is given when all that was written before it has
        been reported by every primary."""
        self._link, self._prefixes = link, prefixes
        self._on_keys, self._listener = on_keys, listener
        self._landmark, self._on_landmark = landmark, on_landmark
        self._slots = SlotMap()
        self._shards: dict[Address, Shard] = {}
        self._unseen: frozenset[int] | None = None
        self._refused = False
        self._look_wanted = asyncio.Event()

    def look(self) -> None:
        """Read the landmark again."""
        self._look_wanted.set()

    async def run(self) -> None:
        """Track until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look(), name="store landmark")
            while True:
                try:
                    self._slots = await self._link.learn()
                except (RedisError, OSError) as exc:
                    if not self._tracked():
                        self._listener.unreachable(str(exc))
                else:
                    self._adjust(tasks, set(self._slots.primaries()))
                await asyncio.sleep(LEARN_AT_MOST_EVERY * random.uniform(1, 2))
                with suppress(TimeoutError):
                    async with asyncio.timeout(LEARN_EVERY * random.uniform(0.5, 1)):
                        await self._link.doubted.wait()

    def _adjust(self, tasks: asyncio.TaskGroup, primaries: set[Address]) -> None:
        for address in self._shards.keys() - primaries:
            shard = self._shards.pop(address)
            shard.seen.set()
            if shard.task is not None:
                shard.task.cancel()
        for address in primaries - self._shards.keys():
            shard = Shard(partial(self._told, address), self._listener.heard)
            self._shards[address] = shard
            shard.tracker = Tracker(
                self._link.node(address), self._prefixes, on_keys=self._on_keys, listener=shard,
                prepare=at_once, question=("PING",), on_landmark=partial(_seen, shard),
            )  # fmt: skip
            name = f"store shard {address[0]}:{address[1]}"
            shard.task = tasks.create_task(shard.tracker.run(), name=name)
        self._tell()

    def _tracked(self) -> set[Address]:
        return {a for a, shard in self._shards.items() if shard.state is ShardState.TRACKING}

    def _told(self, address: Address) -> None:
        shard = self._shards.get(address)
        if shard is None:
            return
        self._tell()
        if shard.state is ShardState.TRACKING:
            self.look()
        elif not self._tracked() and shard.state is ShardState.AWAY:
            self._listener.unreachable(shard.reason)

    def _tell(self) -> None:
        """Say what is known now, if it is another thing than before."""
        states = {shard.state for shard in self._shards.values()}
        if ShardState.REFUSED in states:
            self._refuse()
            return
        self._refused = False
        if self._unseen is None and ShardState.NEW in states:
            return
        before, tracked = self._unseen, self._tracked()
        unseen = self._slots.slots_outside(tracked)
        if unseen == before:
            return
        self._unseen = unseen
        self._log(before or frozenset(), unseen)
        if not unseen:
            self._listener.tracking()
        elif tracked:
            if before is None or before - unseen:
                self._on_keys(None)  # what was read of those that are back may be old
            self._listener.partly(lambda key: slot_of(key) in unseen)
        elif ShardState.LOST in states:
            self._listener.lost(self._reason())
        else:
            self._listener.unreachable(self._reason())

    def _refuse(self) -> None:
        if not self._refused:
            self._refused = True
            self._listener.refused(self._reason())

    def _reason(self) -> str:
        return next((s.reason for s in self._shards.values() if s.reason), "no primary is known")

    def _log(self, before: frozenset[int], unseen: frozenset[int]) -> None:
        if unseen - before:
            logger.warning(
                "store shards away slots=%d of 16384 cause=%s: hosts with these slots are served "
                "as they were known",
                len(unseen), self._reason(),
            )  # fmt: skip
        elif before and not unseen:
            logger.info("store shards back slots=%d", len(before))

    async def _look(self) -> None:
        while True:
            await self._look_wanted.wait()
            self._look_wanted.clear()
            try:
                (value,) = await self._link.ask([("GET", self._landmark)])
            except (RedisError, OSError):
                continue  # a shard that is tracked again looks again
            if isinstance(value, Exception):
                logger.debug("landmark unreadable cause=%s", value)
                continue
            shards = list(self._shards.values())
            for shard in shards:
                shard.look()
            for shard in shards:
                await shard.seen.wait()
            self._on_landmark(bytes(value or b""))


def _seen(shard: Shard, answer: Any) -> None:
    shard.seen.set()
