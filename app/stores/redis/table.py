"""The commands' side of a Redis store: whole tables, changed in one MULTI."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from redis.exceptions import RedisError, ResponseError, WatchError

from ...frontends.site import host_of, prefix_of
from ...system.operator import operator
from ..journal import RouteChange, changes_of
from ..key_pattern import EVERY_KEY, KeyPattern, escaped
from ..table import Entry, Table, TableError
from ..table_pieces import all_keys
from ..unavailable import translated
from ..uses import LastUses
from .journal_stream import RedisJournal
from .keys import (
    DEAD,
    DEAD_INFO,
    FRONTEND,
    HEALTHCHECK,
    JOURNAL,
    OPTIONS,
    PATHS,
    KeyNames,
)
from .links import connect
from .presence import wait_for_all
from .replies import mapping, text
from .url import RedisURL
from .uses import read_uses

ATTEMPTS = 20
"""Times that a change is tried while others write the same frontends."""
HASHES = (OPTIONS, HEALTHCHECK)
FRONTENDS_PER_TRIP = 250
"""Frontends read in one round trip."""
KEYS_PER_TRIP = 1_000
"""Keys looked at in one round trip: the server is held for less than a millisecond."""
ROWS_AT_ONCE = 500
"""Rows and fields written in one MULTI: a few milliseconds in which the server does nothing else,
for each row is told to every worker as well."""


class RedisTable:
    """On the primary, where there are two URLs: a change must rest on what is true."""

    rows_at_once: int | None = ROWS_AT_ONCE

    def __init__(
        self,
        urls: Sequence[RedisURL],
        *,
        timeout: float | None,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        """`timeout`: seconds for each answer. `release` is called at the end."""
        first, last = urls[0], urls[-1]
        self._name = last.name
        self._translated = partial(translated, self._name, RedisError)
        self._prefix = first.prefix
        self._names = KeyNames(first.prefix, tagged=first.tagged)
        primary = replace(last, database=first.database, prefix=first.prefix)
        # A list written twice is not the list that was meant: nothing is sent again by itself.
        self._connections = connect(primary, timeout=timeout, retries=0)
        self._client = self._connections.client
        self._release = release
        self.by = operator()
        self._journal = RedisJournal(self._client, self._prefix + JOURNAL)

    async def read(self, keys: Collection[str] | None = None) -> Table:
        """The frontends of these keys that exist; of all keys without `keys`."""
        with self._translated():
            if keys is not None:
                return await self._read(list(keys))
            found = set[str]()
            async for some in all_keys(self, EVERY_KEY):
                found.update(some)
            table = await self._read(sorted(found))
        # What has prefixes and nothing else is not worth a line.
        return {key: entry for key, entry in table.items() if entry.says_something}

    async def scan(self, cursor: int, matching: KeyPattern) -> tuple[int, list[str]]:
        """The server filters by the pattern, and is held by no answer for long."""
        # One look for both kinds: frontend: and paths:. In tagged names a brace may stand anywhere.
        pattern = "*" if self._names.tagged else matching.glob
        with self._translated():
            following, names = await self._client.scan(
                cursor, match=f"{escaped(self._prefix)}[fp]*:{pattern}", count=KEYS_PER_TRIP
            )
        wanted = matching.regex().fullmatch
        starts = self._prefix + FRONTEND, self._prefix + PATHS
        keys = (
            self._names.key_in(name.removeprefix(start))
            for name in map(text, names) for start in starts if name.startswith(start)
        )  # fmt: skip
        return following, list(keys if matching.everything else filter(wanted, keys))

    async def _read(self, keys: Sequence[str], left: set[str] | None = None) -> Table:
        """`left` gets the keys of which nothing but options or a health check is left."""
        table: Table = {}
        for start in range(0, len(keys), FRONTENDS_PER_TRIP):
            some = keys[start : start + FRONTENDS_PER_TRIP]
            commands: list[tuple[str, ...]] = []
            for key in some:
                name = self._names.of(FRONTEND, key)
                commands += (
                    ("LRANGE", name, "0", "-1"),
                    ("HGETALL", self._names.of(OPTIONS, key)),
                    ("HGETALL", self._names.of(HEALTHCHECK, key)),
                    ("PTTL", name),
                    self._of_paths(key),
                )
            answers = iter(await self._connections.ask(commands))
            for key, rows, *rest in zip(some, *[answers] * 5, strict=False):
                if isinstance(rows, ResponseError) and not str(rows).startswith("WRONGTYPE"):
                    raise rows
                prefix, of_paths = prefix_of(key), rest.pop()
                below = 0 if prefix else _count(of_paths)
                if rows or below:
                    entry = _entry(rows, below, *rest)
                    missed = prefix and of_paths == 0
                    table[key] = replace(entry, named=False) if missed else entry
                elif left is not None and (rest[0] or rest[1]):
                    left.add(key)
        return table

    def _of_paths(self, key: str) -> tuple[str, ...]:
        """How many prefixes a host has; whether a prefix is one of its host."""
        if prefix := prefix_of(key):
            return "SISMEMBER", self._names.of(PATHS, host_of(key)), prefix
        return "SCARD", self._names.of(PATHS, key)

    async def change(self, keys: Collection[str], edit: Callable[[Table], Table]) -> None:
        """Replace the frontends of `keys` by what `edit` makes of them, in one MULTI."""
        names = sorted(keys)
        watched = [self._prefix + kind + key for key in names for kind in (FRONTEND, *HASHES)]
        with self._translated():
            for _ in range(ATTEMPTS):
                async with self._client.pipeline(transaction=True) as pipe:
                    await pipe.watch(*watched)
                    before = await self._read(names)
                    after = edit(dict(before))
                    pipe.multi()  # type: ignore[no-untyped-call]
                    for key in names:
                        if before.get(key) != after.get(key):
                            self._write(pipe, key, before.get(key), after.get(key))
                        if prefix := prefix_of(key):
                            # Also where the list stays as it is: somebody may have forgotten it.
                            paths = self._prefix + PATHS + host_of(key)
                            (pipe.sadd if key in after else pipe.srem)(paths, prefix)
                    for change in changes_of(before, after, names, by=self.by, at=time.time()):
                        self._journal.write(pipe, change)
                    try:
                        await pipe.execute()
                        return
                    except WatchError:
                        continue
                    except ResponseError as exc:
                        if not self._journal.gives_up(exc):
                            raise
        raise TableError(f"{names[0]}: others write there all the time; nothing was changed")

    def _write(self, pipe: Any, key: str, before: Entry | None, after: Entry | None) -> None:
        name = self._prefix + FRONTEND + key
        if after is None:
            pipe.delete(name, *(self._prefix + kind + key for kind in (*HASHES, DEAD, DEAD_INFO)))
            return
        pipe.delete(name)  # whatever its type was
        if after.listed:
            pipe.rpush(name, *after.rows)
        else:
            pipe.delete(*(self._prefix + kind + key for kind in (DEAD, DEAD_INFO)))
        if after.ttl is not None:
            pipe.expire(name, after.ttl)
        for kind, settings in settings_of(after).items():
            if before is None or settings_of(before)[kind] != settings:
                pipe.delete(self._prefix + kind + key)
                if settings:
                    pipe.hset(self._prefix + kind + key, mapping=dict(settings))

    async def journal(self, key: str | None, most: int) -> list[RouteChange]:
        """The last changes of this key, and of its prefixes."""
        with self._translated():
            return await self._journal.read(key, most)

    async def last_uses(self) -> LastUses:
        """Some at a time."""
        with self._translated():
            return await read_uses(self._client, self._prefix)

    async def wait(self, seconds: float) -> tuple[int, list[str]]:
        """Wait for all workers: how many there are, and which did not have the change in time."""
        with self._translated():
            return await wait_for_all(self._client, self._prefix, seconds)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connections.aclose()
        self._release()


def settings_of(entry: Entry) -> dict[str, Mapping[str, str]]:
    """What its hashes hold."""
    return {OPTIONS: entry.options, HEALTHCHECK: entry.healthcheck}


def _count(answer: Any) -> int:
    return answer if isinstance(answer, int) else 0


def _entry(rows: Any, below: int, options: Any, healthcheck: Any, left: Any) -> Entry:
    if isinstance(rows, ResponseError):
        return Entry("", ())
    if not rows:
        return Entry("", options=mapping(options), listed=False, below=below)
    return Entry(
        text(rows[0]),
        tuple(text(row) for row in rows[1:]),
        mapping(options),
        mapping(healthcheck),
        # Rounded up: a frontend that is about to lapse must not lose its expiry.
        -(-left // 1000) if isinstance(left, int) and left > 0 else None,
        below=below,
    )
