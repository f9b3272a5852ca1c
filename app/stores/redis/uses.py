"""When frontends were last used, in a hash: Unix seconds by the store's clock for each key."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from ..uses import GAP, NOTED, SINCE, LastUses
from .check_records import Bounded
from .connections import StoreLink
from .keys import FRONTEND, USED, KeyNames
from .replies import text

IN_ONE = 500
"""Keys that one command writes or looks at."""
NOTE = f"""
local noted=tonumber(redis.call('hget',KEYS[1],'{NOTED}') or 0)
if tonumber(ARGV[1])-noted>{GAP:g} then redis.call('hset',KEYS[1],'{SINCE}',ARGV[1]) end
redis.call('hset',KEYS[1],'{NOTED}',ARGV[1])
for i=2,#ARGV do redis.call('hset',KEYS[1],ARGV[i],ARGV[1]) end
"""
"""A script: the frontends from ARGV[2] on were used at ARGV[1]."""


class RedisUses:
    """uses.UseRecords in Redis."""

    def __init__(
        self, writing: StoreLink, names: KeyNames, bounded: Bounded, clock: Callable[[], float]
    ) -> None:
        """`clock` gives Unix seconds by the store's clock."""
        self._client = writing.client
        self._names = names
        self._name = names.prefix + USED
        self._bounded = bounded
        self._clock = clock

    async def note(self, keys: Collection[str]) -> None:
        """One script for every IN_ONE of them."""
        now, rest = int(self._clock()), list(keys)
        while True:
            some, rest = rest[:IN_ONE], rest[IN_ONE:]
            await self._bounded(partial(self._client.eval, NOTE, 1, self._name, now, *some))
            if not rest:
                return

    async def prune(self) -> None:
        """Goes over the whole hash, some at a time."""
        cursor = 0
        while True:
            cursor, found = await self._bounded(
                partial(self._client.hscan, self._name, cursor, count=IN_ONE)
            )
            keys = [key for key in map(text, found) if key not in {SINCE, NOTED}]
            if gone := await self._gone(keys):
                await self._bounded(partial(self._client.hdel, self._name, *gone))
            if not cursor:
                return

    async def _gone(self, keys: Sequence[str]) -> list[str]:
        if not keys:
            return []
        pipe = self._client.pipeline(transaction=False)
        for key in keys:
            pipe.exists(self._names.of(FRONTEND, key))
        there = await self._bounded(pipe.execute)
        return [key for key, is_there in zip(keys, there, strict=True) if not is_there]


async def read_uses(client: Any, prefix: str) -> LastUses:
    """All of them. `client` is redis-py's; its errors pass through."""
    found: dict[str, float] = {}
    async for key, at in client.hscan_iter(prefix + USED, count=IN_ONE):
        try:
            found[text(key)] = float(at)
        except ValueError:  # somebody else's
            continue
    return LastUses.of(found)
