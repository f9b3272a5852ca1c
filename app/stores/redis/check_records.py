"""What active checkers share: what to check, which of them does what, and that one is alive.

`healthcheck:<host>` is planb's and tsuru's hash, `hchecker_ping` hchecker's sign of life, which
has no prefix. Beside it we note whether the last ping was ours: only a foreign checker's makes our
own workers stand back (hipache.md 1.5).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from redis.exceptions import ResponseError

from ...frontends.site import host_of
from ..base import Checked, Pings, ShardLeases
from .check_leases import LEASES, RELEASE_SHARE, SHARE, leases_of
from .connections import StoreLink
from .keys import DEAD, DEAD_INFO, FRONTEND, HEALTHCHECK, OPTIONS, KeyNames
from .replies import LAST_ROW, frontend_of, mapping, text
from .url import CLUSTER_SCHEMES, RedisURL

PING, PING_BY_US = "hchecker_ping", "hchecker_ping_by_hipache"
PING_BY_US_TAGGED = "hchecker_ping_by_hipache{hchecker_ping}"
"""In a cluster, where it has to be in the slot of the other."""
PING_LASTS = 30
"""Seconds after which a checker that does not ping counts as gone, as in Hipache 0.2.8."""

_BATCH = 20  # keys in one round trip: half a millisecond of the loop
_BATCH_OF_MARKS = 60  # as much of it: most have none, and one number says so

Bounded = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Runs a command within the store's timeout; raises StoreUnavailable and nothing else."""


class RedisCheckRecords:
    """base.CheckRecords in Redis."""

    def __init__(
        self,
        reading: StoreLink,
        writing: StoreLink,
        names: KeyNames,
        bounded: Bounded,
        now: Callable[[], float],
        *,
        ping_by_us: str = PING_BY_US,
    ) -> None:
        """`now` is the time by the store's clock."""
        self._ping_by_us = ping_by_us
        self._reading = reading
        self._writing = writing.client
        self._names = names
        self._bounded = bounded
        self._now = now

    async def listed(self, ours: Callable[[str], bool], *, every: bool) -> list[Checked]:
        """Scans all keys of the database, and reads the lists of `ours`."""
        start, of = self._names.prefix + (FRONTEND if every else HEALTHCHECK), self._names.of
        names = scan(self._reading.client, start, self._bounded)
        listed = [self._names.key_in(name.removeprefix(start)) async for name in names]
        keys = [key for key in listed if ours(key)]
        found: list[Checked] = []
        for some in _batches(keys):
            # The options of a prefix stand behind those of its host.
            hosts = [dict.fromkeys((key, host_of(key))) for key in some]
            answers = iter(
                await self._ask(
                    [
                        command
                        for key, said_by in zip(some, hosts, strict=True)
                        for command in (
                            ("LRANGE", of(FRONTEND, key), "0", LAST_ROW),
                            ("HGETALL", of(HEALTHCHECK, key)),
                            *(("HGET", of(OPTIONS, each), "http2") for each in said_by),
                        )
                    ]
                )
            )
            for key, said_by in zip(some, hosts, strict=True):
                rows, raw, *http2 = islice(answers, 2 + len(said_by))
                if rows:
                    found.append(Checked(frontend_of(key, rows, _said(http2)), mapping(raw)))
        return found

    async def marked(self, keys: Sequence[str]) -> set[str]:
        """Many keys in each round trip, and one by one where some of them have marks."""
        found: set[str] = set()
        of = self._names.of
        for some in _batches(keys, _BATCH_OF_MARKS):
            names = [(of(DEAD, key), of(DEAD_INFO, key)) for key in some]
            (any_of_them,) = await self._ask([("EXISTS", *chain(*names))])
            if any_of_them:
                answers = await self._ask([("EXISTS", *pair) for pair in names])
                found.update(key for key, count in zip(some, answers, strict=True) if count)
        return found

    async def _ask(self, commands: Sequence[Sequence[str]]) -> list[Any]:
        answers: list[Any] = await self._bounded(lambda: self._reading.ask(commands))
        return answers

    async def hold(
        self, holder: str, seconds: float, shards: int, undone: Mapping[int, float]
    ) -> ShardLeases:
        """One script on one key."""
        key, client = self._names.prefix + LEASES, self._writing
        since = [word for shard, at in undone.items() for word in (shard, int(at * 1000))]
        words: list[str | int] = [holder, int(seconds * 1000), shards, *since]
        return leases_of(await self._bounded(lambda: client.eval(SHARE, 1, key, *words)))

    async def release(self, holder: str) -> None:
        """So that others can go on at once."""
        key, client = self._names.prefix + LEASES, self._writing
        await self._bounded(lambda: client.eval(RELEASE_SHARE, 1, key, holder))

    async def ping(self) -> None:
        """As hchecker writes it, and whose it is, in one MULTI."""
        if (await self.pings()).foreign:
            return
        pipe = self._writing.pipeline(transaction=True)
        now = str(int(self._now()))
        pipe.set(PING, now)
        pipe.set(self._ping_by_us, now)
        await self._bounded(pipe.execute)

    async def pings(self) -> Pings:
        """A ping that is not the one that we wrote last is a foreign checker's."""
        client = self._reading.client
        ping, ours = await self._bounded(lambda: client.mget(PING, self._ping_by_us))
        written = text(ping) if ping else ""
        # One of the future is no younger: its writer's clock may be ahead for hours.
        if not written.isdecimal() or abs(self._now() - int(written)) > PING_LASTS:
            return Pings()
        by_us = bool(ours) and text(ours) == written
        return Pings(foreign=not by_us, ours=by_us)


def ping_by_us(url: RedisURL) -> str:
    """The key that says which ping was ours."""
    return PING_BY_US_TAGGED if url.scheme in CLUSTER_SCHEMES else PING_BY_US


def _said(http2: Sequence[Any]) -> dict[str, str]:
    """The one option that checks need, of a frontend or, if it says nothing, of its host."""
    said = [each for each in http2 if each is not None and not isinstance(each, ResponseError)]
    return {"http2": text(said[0])} if said else {}


async def scan(client: Any, start: str, bounded: Bounded) -> AsyncIterator[str]:
    """All keys that begin with `start`; some may come twice. Raises StoreUnavailable."""
    pattern = "".join(f"\\{c}" if c in "*?[]\\^-" else c for c in start) + "*"
    cursor = 0
    while True:
        cursor, keys = await bounded(
            lambda at=cursor: client.scan(at, match=pattern, count=1000)  # type: ignore[misc]
        )
        for key in keys:
            yield text(key)
        if not cursor:
            return


def _batches(keys: Sequence[str], size: int = _BATCH) -> Iterator[Sequence[str]]:
    return (keys[i : i + size] for i in range(0, len(keys), size))
