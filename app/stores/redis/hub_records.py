"""A JupyterHub's routes in Redis.

chp:route:<path>   string: the route's members, in JSON
chp:routes         set: the paths of all routes
chp:used           sorted set: when each was last in use, in milliseconds
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from redis.exceptions import RedisError, ResponseError

from ..hub_records import HubRecordListener
from ..unavailable import translated
from .links import connect
from .named_changes import NamedChanges, track_names
from .replies import text
from .url import CLUSTER_SCHEMES, RedisURL

_PER_TRIP = 500
"""Routes in one answer: some hundred kilobytes."""


class RedisHubRecords:
    """hub_records.HubRecords on the server that takes the writes: a 201 must count at once.

    It belongs to one event loop.
    """

    def __init__(self, urls: Sequence[RedisURL], *, timeout: float) -> None:
        """`timeout`: seconds for each answer."""
        first, last = urls[0], urls[-1]
        self.name = last.name
        self._translated = partial(translated, self.name, RedisError)
        primary = replace(last, database=first.database, prefix=first.prefix)
        self._connections = connect(primary, timeout=timeout)
        # In a cluster a MULTI has the keys of one slot.
        start = f"{first.prefix}chp:{'{chp}:' if first.scheme in CLUSTER_SCHEMES else ''}"
        self._route, self._routes, self._used = f"{start}route:", f"{start}routes", f"{start}used"

    async def put(self, name: str, text: str, used: float) -> None:
        """In one MULTI."""
        await self._at_once(
            ("SET", self._route + name, text),
            ("SADD", self._routes, name),
            ("ZADD", self._used, _score(used), name),
        )

    async def drop(self, name: str) -> bool:
        """In one MULTI."""
        removed, *_ = await self._at_once(
            ("DEL", self._route + name),
            ("SREM", self._routes, name),
            ("ZREM", self._used, name),
        )
        return bool(removed)

    async def read(self, names: Sequence[str]) -> dict[str, str | None]:
        """Some hundred in one round trip."""
        found: dict[str, str | None] = {}
        for start in range(0, len(names), _PER_TRIP):
            some = names[start : start + _PER_TRIP]
            (values,) = await self._ask(("MGET", *(self._route + name for name in some)))
            for name, value in zip(some, values, strict=True):
                found[name] = None if value is None else text(value)
        return found

    async def read_all(self) -> dict[str, str]:
        """What the set names."""
        (names,) = await self._ask(("SMEMBERS", self._routes))
        found = await self.read([text(name) for name in names])
        return {name: value for name, value in found.items() if value is not None}

    async def touch(self, used: Mapping[str, float]) -> None:
        """Redis compares: another proxy may know of a later use."""
        if used:
            pairs = [part for name, at in used.items() for part in (_score(at), name)]
            await self._ask(("ZADD", self._used, "GT", *pairs))

    async def used(self) -> dict[str, float]:
        """One read."""
        (pairs,) = await self._ask(("ZRANGE", self._used, "0", "-1", "WITHSCORES"))
        return {
            text(name): float(score) / 1000
            for name, score in zip(pairs[::2], pairs[1::2], strict=True)
        }

    async def watch(self, listener: HubRecordListener) -> None:
        """On a connection of its own."""
        changes = NamedChanges(listener, self._route)
        await track_names(self._connections, [self._route], changes, self._route)

    async def _at_once(self, *commands: Sequence[str]) -> list[Any]:
        """The answers to commands that take effect together."""
        *_, answers = await self._ask(("MULTI",), *commands, ("EXEC",))
        return list(answers)

    async def _ask(self, *commands: Sequence[str]) -> list[Any]:
        with self._translated():
            answers = await self._connections.ask(commands)
            for answer in answers:
                if isinstance(answer, ResponseError):
                    raise answer
        return answers

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connections.aclose()


def _score(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"
