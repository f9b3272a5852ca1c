"""The keys that a Redis holds under our prefix, some at a time, for `hipache doctor`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from redis.exceptions import ResponseError

from ...frontends.site import can_match, host_of, prefix_of
from ...routing import lookup_keys, parse_frontend
from ..inspection import Inspection, Listed, MarksFound, WrongType
from ..key_form import looked_up_as
from ..key_pattern import escaped
from .clock import noticed
from .connections import StoreLink
from .keys import DEAD, DEAD_INFO, FRONTEND, HEALTHCHECK, OPTIONS, PATHS, KeyNames
from .marks import decode_mark
from .replies import mapping, marks_of, text

TYPES = {
    "frontend": "list", "options": "hash", "dead": "set", "dead-info": "hash",
    "healthcheck": "hash", "tls": "hash", "paths": "set",
}  # fmt: skip
KEYS_PER_TRIP = 1_000
"""Keys that are looked at together: the server is held for less than a millisecond."""

ReadCommand = tuple[str, ...]
ReadsOfKey = Callable[[str], Sequence[ReadCommand]]


class InspectedKeys:
    """ReadsOfKey them. What else must be known of a key is asked for with it."""

    def __init__(self, link: StoreLink, names: KeyNames, clock: tuple[float, float]) -> None:
        """`clock`: the time there and the time here, at one moment, in Unix seconds."""
        self._link, self._names = link, names
        self._ahead = noticed(clock[0] - clock[1])

    async def parts(self) -> AsyncIterator[Inspection]:
        """All keys, some at a time. Raises RedisError, OSError."""
        cursor, match = 0, f"{escaped(self._names.prefix)}*"
        while True:
            cursor, names = await self._link.client.scan(cursor, match=match, count=KEYS_PER_TRIP)
            part = Inspection(looked=len(names))
            await self._look(part, self._by_kind(names))
            yield part
            if not cursor:
                return

    def _by_kind(self, names: Iterable[Any]) -> dict[str, list[str]]:
        keys: dict[str, set[str]] = {kind: set() for kind in TYPES}
        for name in names:
            kind, colon, key = text(name).removeprefix(self._names.prefix).partition(":")
            if colon and kind in keys:
                keys[kind].add(key if kind == "tls" else self._names.key_in(key))
        return {kind: sorted(found) for kind, found in keys.items()}

    async def _look(self, part: Inspection, keys: dict[str, list[str]]) -> None:
        await self._frontends(part, keys["frontend"])
        await self._paths(part, keys["paths"])
        await self._others(part, keys["options"] + keys["healthcheck"])
        await self._marks(part, keys["dead"], keys["dead-info"])
        for kind in ("options", "healthcheck"):
            await self._settings(part, kind, keys[kind])
        await self._certificates(part, keys["tls"])

    async def _frontends(self, part: Inspection, keys: Sequence[str]) -> None:
        def reads(key: str) -> list[ReadCommand]:
            name = self._names.of(FRONTEND, key)
            commands = [
                ("LRANGE", name, "0", "-1"), ("HGETALL", self._names.of(OPTIONS, key)),
                ("TTL", name),
            ]  # fmt: skip
            if prefix := prefix_of(key):
                commands.append(("SISMEMBER", self._names.of(PATHS, host_of(key)), prefix))
            return commands

        async for key, (rows, settings, ttl, *named) in self._read(keys, reads):
            if isinstance(rows, ResponseError):
                await self._wrong(part, "frontend", key)
            elif rows:
                left = ttl if ttl > 0 else None
                listed = Listed([text(row) for row in rows], mapping(settings), left)
                part.frontends[key] = listed
                if named and named[0] != 1:
                    part.unnamed.append(key)

    async def _paths(self, part: Inspection, keys: Sequence[str]) -> None:
        reads: ReadsOfKey = lambda key: [("SMEMBERS", self._names.of(PATHS, key))]  # noqa: E731
        async for key, (prefixes,) in self._read(keys, reads):
            if isinstance(prefixes, ResponseError):
                await self._wrong(part, "paths", key)
            elif prefixes:
                part.paths[key] = sorted(map(text, prefixes))

    async def _others(self, part: Inspection, settings: Sequence[str]) -> None:
        """Which of the keys are there that those in this part refer to."""
        wanted = set(settings)
        wanted |= {host + each for host, some in part.paths.items() for each in some
                   if can_match(each)}  # fmt: skip
        for key in part.frontends:
            try:
                wanted.add(looked_up_as(key))
            except ValueError:
                continue  # no request can match it
        part.there |= wanted & part.frontends.keys()
        reads: ReadsOfKey = lambda key: [("EXISTS", self._names.of(FRONTEND, key))]  # noqa: E731
        async for key, (there,) in self._read(sorted(wanted - part.there), reads):
            if there == 1:
                part.there.add(key)

    async def _marks(self, part: Inspection, dead: Sequence[str], infos: Sequence[str]) -> None:
        def reads(key: str) -> list[ReadCommand]:
            name = self._names.of(DEAD, key)
            info = ("HGETALL", self._names.of(DEAD_INFO, key))
            return [("SMEMBERS", name), ("PTTL", name), info]

        of_dead = frozenset(dead)
        async for key, answers in self._read(sorted({*dead, *infos}), reads):
            ids, _, info = answers
            if isinstance(info, ResponseError):
                await self._wrong(part, "dead-info", key)
            if isinstance(ids, ResponseError):
                if "://" not in key and key in of_dead:  # planb's locks: dead:<host>:<url>
                    await self._wrong(part, "dead", key)
            elif key in of_dead or not ids:  # else it is looked at with its other key
                await self._marks_of(part, key, answers)

    async def _marks_of(self, part: Inspection, key: str, answers: Sequence[Any]) -> None:
        names = [key] if key.startswith("*") else lookup_keys(key)
        lists = await self._link.ask(
            [("LRANGE", self._names.of(FRONTEND, name), "0", "-1") for name in names]
        )
        found = ((n, r) for n, r in zip(names, lists, strict=True) if isinstance(r, list) and r)
        name, rows = next(found, (None, []))
        ids, _, info = answers
        if name is None and not ids:
            return  # the history of a frontend that is gone ends by itself
        frontend = parse_frontend(name, [text(row) for row in rows]) if name is not None else None
        now, ahead = time.time(), self._ahead
        marks = marks_of(frontend, answers, now=now, ahead=ahead) if frontend else {}
        lasts = {
            url: written.lasts
            for url, value in mapping(info).items()
            if (written := decode_mark(value))
        }
        part.marks[key] = MarksFound(frontend, sorted(map(text, ids)), marks, lasts)

    async def _settings(self, part: Inspection, kind: str, keys: Sequence[str]) -> None:
        def reads(key: str) -> list[ReadCommand]:
            # Prefixes inherit the options of a host that has no list of its own.
            below = ("EXISTS", self._names.of(PATHS, key))
            size = ("HLEN", self._names.of(OPTIONS if kind == "options" else HEALTHCHECK, key))
            return [size, below]

        async for key, (size, below) in self._read(keys, reads):
            if isinstance(size, ResponseError):
                await self._wrong(part, kind, key)
            elif key not in part.there and not (kind == "options" and below == 1):
                part.orphans.append((kind, key))

    async def _certificates(self, part: Inspection, keys: Sequence[str]) -> None:
        def reads(key: str) -> list[ReadCommand]:
            return [("HMGET", f"{self._names.prefix}tls:{key}", "certificate", "key")]

        async for name, (pair,) in self._read(keys, reads):
            if isinstance(pair, ResponseError):
                await self._wrong(part, "tls", name)
                continue
            certificate, key = (text(value or b"") for value in pair)
            part.certificates[name] = certificate, key

    async def _wrong(self, part: Inspection, kind: str, key: str) -> None:
        name = (
            f"{self._names.prefix}tls:{key}" if kind == "tls" else self._names.of(f"{kind}:", key)
        )
        found = text(await self._link.client.type(name))
        name = name.removeprefix(self._names.prefix)
        part.wrong_types.append(WrongType(name, found, TYPES[kind]))

    async def _read(
        self, keys: Sequence[str], reads: ReadsOfKey
    ) -> AsyncIterator[tuple[str, list[Any]]]:
        """Each key with the raw answers to its `reads`, which one round trip brings."""
        commands = [list(reads(key)) for key in keys]
        if not commands:
            return
        answers = iter(await self._link.ask([each for some in commands for each in some]))
        for key, some in zip(keys, commands, strict=True):
            yield key, [next(answers) for _ in some]
