"""The commands' side of a cluster: frontends changed one by one, in an order that shows no half.

A frontend's keys are in several slots, so no MULTI takes them all: the list, which makes the
frontend visible, is written after the options that protect it, and removed before them. With
tagged keys they are in one slot, and one MULTI takes them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,
    ResponseError,
    TryAgainError,
    WatchError,
)

from ....errors import HipacheError, StoreUnavailable
from ....frontends.site import host_of, prefix_of
from ...journal import RouteChange
from ...table import Entry, Table, TableError
from ...tables import PartlyChanged
from ..keys import DEAD, DEAD_INFO, FRONTEND, PATHS, KeyNames
from ..table import ATTEMPTS, HASHES, RedisTable, settings_of
from .cluster_connections import ClusterConnections
from .new_frontends import create, is_plain
from .slot_map import Argument, slot_of
from .written import Written, is_still

WriteStep = tuple[Argument, ...]
"""A command; its first argument is its key."""
SETTLE = 0.1
"""Seconds that slots have to be where they move to."""


class ClusterTable(RedisTable):
    """Each frontend is written as a whole, and what two write at once is written one by one."""

    async def change(self, keys: Collection[str], edit: Callable[[Table], Table]) -> None:
        """Replace the frontends of `keys` by what `edit` makes of them, new ones first.

        Raises PartlyChanged where some of them are written and others are not.
        """
        names, written = sorted(keys), Written()
        try:
            with self._translated():
                await self._change(names, edit, written)
        except HipacheError as exc:
            changes = [*written.changes(by=self.by, at=time.time())]
            if not changes:
                raise
            with suppress(StoreUnavailable):  # what has failed is told, not what follows from it
                await self._write_down(changes)
            raise PartlyChanged(exc, len(changes), len(names)) from exc
        await self._write_down(written.changes(by=self.by, at=time.time()))

    async def _change(
        self, names: Sequence[str], edit: Callable[[Table], Table], written: Written
    ) -> None:
        for _ in range(ATTEMPTS):
            left = set[str]()
            now = await self._read(names, left)
            after = edit(written.undone_in(now))
            # All at once go those of which nothing is there, and that have nothing but a list.
            new = [key for key in names if key in after and key not in now and key not in left]
            plain = {key: after[key] for key in new if is_plain(after[key])}
            try:
                await self._change_each(names, now, after, plain, written)
                return
            except WatchError:
                continue
            except (AskError, TryAgainError, ClusterDownError):  # MOVED is an AskError
                await self._settled()
        raise TableError(f"{names[0]}: others write there all the time")

    async def _change_each(
        self, names: Sequence[str], now: Table, after: Table, plain: Table, written: Written
    ) -> None:
        """Prefixes inherit the options of their host: it comes before them, and goes after them."""

        async def one(key: str) -> None:
            await self._change_one(key, now.get(key), after.get(key))
            written.note(key, now.get(key), after.get(key))

        kept = dict.fromkeys(key for key in names if key in after)
        for key in [key for key in kept if key not in plain and not prefix_of(key)]:
            await one(key)
            del kept[key]
        if len(plain) > 1:
            created, failed = await create(self._cluster, self._names, plain)
            for key in created:
                written.note(key, None, after[key])
                del kept[key]
            if failed:
                raise failed
        for key in [*kept, *(key for key in reversed(names) if key not in after)]:
            await one(key)

    @property
    def _cluster(self) -> ClusterConnections:
        assert isinstance(self._connections, ClusterConnections)
        return self._connections

    async def _settled(self) -> None:
        await asyncio.sleep(SETTLE)
        await self._cluster.learn()

    async def _change_one(self, key: str, before: Entry | None, after: Entry | None) -> None:
        """Raises WatchError where somebody else has changed it."""
        steps = list(steps_of(self._names, key, before, after))
        if not steps:
            return
        watched = [self._names.of(kind, key) for kind in (FRONTEND, *HASHES)]
        async with AsyncExitStack() as stack:
            pipes: dict[int, Any] = {}
            for name in watched:
                slot = slot_of(name)
                if slot not in pipes:
                    pipes[slot] = await stack.enter_async_context(await self._pipe(slot))
                await pipes[slot].watch(name)
            now = await self._read([key])
            if not is_still(now.get(key), before):
                raise WatchError
            for slot, commands in _by_slot(steps):
                pipe = pipes.pop(slot, None)
                if pipe is None:
                    pipe = await stack.enter_async_context(await self._pipe(slot))
                pipe.multi()
                for command in commands:
                    pipe.execute_command(*command)
                await pipe.execute()

    async def _pipe(self, slot: int) -> Any:
        owner = (await self._cluster.slots()).owner(slot)
        if owner is None:
            raise ConnectionError(f"no server of the cluster has slot {slot}")
        return self._cluster.node(owner).client.pipeline(transaction=True)

    async def _write_down(self, changes: Iterable[RouteChange]) -> None:
        pipe = self._client.pipeline(transaction=False)
        for change in changes:
            self._journal.write(pipe, change)
        with self._translated():
            try:
                await pipe.execute()
            except ResponseError as exc:
                if not self._journal.gives_up(exc):
                    raise


def steps_of(
    names: KeyNames, key: str, before: Entry | None, after: Entry | None
) -> Iterator[WriteStep]:
    """The commands that make `before` `after`, in their order.

    What a frontend gains in options is there before its new list, what it loses goes after it.
    """
    list_, prefix = names.of(FRONTEND, key), prefix_of(key)
    paths = names.of(PATHS, host_of(key))
    if after is None:
        if prefix:
            yield "SREM", paths, prefix
        if before is not None:
            for kind in (FRONTEND, *HASHES, DEAD, DEAD_INFO):
                yield "DEL", names.of(kind, key)
        return
    yield from _gained(names, key, before, after)
    if before is None or (before.rows, before.ttl) != (after.rows, after.ttl):
        yield "DEL", list_  # whatever its type was
        if after.listed:
            yield "RPUSH", list_, *after.rows
        if after.listed and after.ttl is not None:
            yield "EXPIRE", list_, after.ttl
    if not after.listed:
        for kind in (DEAD, DEAD_INFO):
            yield "DEL", names.of(kind, key)
    if prefix:  # also where the list stays as it is: somebody may have forgotten it
        yield "SADD", paths, prefix
    yield from _lost(names, key, before, after)


def _gained(names: KeyNames, key: str, before: Entry | None, after: Entry) -> Iterator[WriteStep]:
    for kind, settings in settings_of(after).items():
        had = settings_of(before)[kind] if before else {}
        new = [part for item in settings.items() if item not in had.items() for part in item]
        # Whatever its type was; what was left behind by a frontend must not become part of this.
        if not had and (settings or before is None or not before.listed):
            yield "DEL", names.of(kind, key)
        if new:
            yield "HSET", names.of(kind, key), *new


def _lost(names: KeyNames, key: str, before: Entry | None, after: Entry) -> Iterator[WriteStep]:
    for kind, settings in settings_of(after).items():
        had = settings_of(before)[kind] if before else {}
        if gone := [name for name in had if name not in settings]:
            yield "HDEL", names.of(kind, key), *gone


def _by_slot(steps: Sequence[WriteStep]) -> list[tuple[int, list[WriteStep]]]:
    groups: list[tuple[int, list[WriteStep]]] = []
    for step in steps:
        slot = slot_of(step[1])
        if not groups or groups[-1][0] != slot:
            groups.append((slot, []))
        groups[-1][1].append(step)
    return groups
