"""All that a Redis holds under our prefixes, for `hipache doctor`. Reads; changes nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from redis.exceptions import ConnectionError, RedisError, ResponseError

from ...errors import StoreUnavailable
from ...routing import Frontend, Marks, lookup_keys, parse_frontend
from ..driver import NotOffered
from ..inspection import Inspection, Listed, MarksFound, ServerFacts, WrongType
from .check_records import PING, PING_BY_US, ping_by_us
from .clock import noticed
from .cluster.cluster_connections import ClusterConnections
from .connections import Connections, StoreLink
from .keys import KeyNames
from .links import connect
from .marks import decode_mark
from .presence import escape
from .replies import mapping, marks_of, text
from .url import RedisURL

TYPES = {
    "frontend": "list", "options": "hash", "dead": "set", "dead-info": "hash",
    "healthcheck": "hash", "tls": "hash", "paths": "set",
}  # fmt: skip
KEYS_PER_TRIP = 500
"""Keys read in one round trip."""


async def inspect(
    urls: Sequence[RedisURL], *, timeout: float, name: str | None = None
) -> Inspection:
    """`name`: what the operator calls the server; else its URL. Raises StoreUnavailable, and
    NotOffered where it gives routes, but closes on what is asked here, as twemproxy does."""
    found = Inspection(prefix=urls[0].prefix, tagged=urls[0].tagged, commands=True)
    reading = connect(urls[0], timeout=timeout)
    by_us = ping_by_us(urls[0])
    try:
        alone = len(urls) == 1
        pings = await reading.client.mget(PING, by_us)
        for where, link in await _servers(reading, name or urls[0].name):
            found.servers.append(await _facts(link, where, pings, alone=alone))
            pings = [None, None]  # told once
        if not alone:
            await _look_at_primary(replace(urls[-1], database=urls[0].database), timeout, found)
        await _Keys(reading.client, found, KeyNames(urls[0].prefix, tagged=urls[0].tagged)).look()
    except (RedisError, OSError) as exc:
        if isinstance(exc, ConnectionError) and await _gives_routes(reading):
            raise NotOffered("it answers reads, but not INFO, TIME or SCAN") from exc
        raise StoreUnavailable(str(exc) or "no answer in time") from exc
    finally:
        await reading.aclose()
    return found


async def _servers(reading: StoreLink, name: str) -> list[tuple[str, StoreLink]]:
    """All that are read from: of a cluster every primary."""
    if not isinstance(reading, ClusterConnections):
        return [(name, reading)]
    primaries = (await reading.slots()).primaries()
    return [(f"{host}:{port}", reading.node((host, port))) for host, port in primaries]


async def _gives_routes(connections: StoreLink) -> bool:
    client: Any = connections.client
    try:
        await client.lrange("frontend:", 0, 0)
    except (RedisError, OSError):
        return False
    return True


async def _look_at_primary(primary: RedisURL, timeout: float, found: Inspection) -> None:
    writing = Connections(primary, timeout=timeout)
    try:
        pings = await writing.client.mget(PING, PING_BY_US)
        found.servers.append(await _facts(writing, primary.name, pings, alone=True))
    except (RedisError, OSError) as exc:
        away = StoreUnavailable(str(exc) or "no answer in time")
        away.__cause__ = exc
        found.primary_away = primary.name, away
    finally:
        await writing.aclose()


async def _facts(
    connections: StoreLink, name: str, pings: Sequence[Any], *, alone: bool
) -> ServerFacts:
    client: Any = connections.client
    raw = await client.info("everything")
    before = time.time()
    seconds, microseconds = await client.time()
    clock = seconds + microseconds / 1e6, (before + time.time()) / 2
    try:
        save = (await client.config_get("save")).get("save", "")
    except ResponseError:
        save = None  # a hosted server does not tell
    ping, ours = pings
    return ServerFacts(
        name, alone, {key: str(value) for key, value in raw.items()}, clock, save,
        None if ping is None else (text(ping), ping == ours),
    )  # fmt: skip


class _Keys:
    """Everything under our prefixes; what is there goes to `found`."""

    def __init__(self, client: Any, found: Inspection, names: KeyNames) -> None:
        self._client, self._names = client, names
        self._found = found

    async def look(self) -> None:
        """Read all of it."""
        keys = await self._scanned()
        await self._frontends(sorted(keys["frontend"]))
        await self._paths(sorted(keys["paths"]))
        await self._marks(sorted(keys["dead"] | keys["dead-info"]))
        for kind in ("options", "healthcheck"):
            # Prefixes inherit the options of a host that has no list of its own.
            hosts = set(self._found.paths) if kind == "options" else set[str]()
            await self._settings(kind, sorted(keys[kind]), keys["frontend"] | hosts)
        await self._certificates(sorted(keys["tls"]))

    async def _scanned(self) -> dict[str, set[str]]:
        keys: dict[str, set[str]] = {kind: set() for kind in TYPES}
        prefix = self._found.prefix
        async for raw in self._client.scan_iter(match=escape(prefix) + "*", count=10_000):
            kind, colon, key = text(raw).removeprefix(prefix).partition(":")
            if colon and kind in keys:
                keys[kind].add(key if kind == "tls" else self._names.key_in(key))
        return keys

    async def _frontends(self, keys: Sequence[str]) -> None:
        reads = [
            ("lrange", "frontend", (0, -1)),
            ("hgetall", "options", ()),
            ("ttl", "frontend", ()),
        ]
        async for key, (rows, settings, ttl) in self._read(keys, reads):
            if isinstance(rows, ResponseError):
                await self._wrong("frontend", key)
            elif rows:
                left = ttl if ttl > 0 else None
                listed = Listed([text(row) for row in rows], mapping(settings), left)
                self._found.frontends[key] = listed

    async def _paths(self, keys: Sequence[str]) -> None:
        async for key, (prefixes,) in self._read(keys, [("smembers", "paths", ())]):
            if isinstance(prefixes, ResponseError):
                await self._wrong("paths", key)
            elif prefixes:
                self._found.paths[key] = sorted(map(text, prefixes))

    async def _marks(self, keys: Sequence[str]) -> None:
        reads = [("smembers", "dead", ()), ("pttl", "dead", ()), ("hgetall", "dead-info", ())]
        async for key, answers in self._read(keys, reads):
            ids, _, info = answers
            if isinstance(info, ResponseError):
                await self._wrong("dead-info", key)
            if isinstance(ids, ResponseError):
                if "://" not in key:  # planb's locks are strings at dead:<host>:<url>
                    await self._wrong("dead", key)
                continue
            names = [key] if key.startswith("*") else lookup_keys(key)
            lists = self._found.frontends
            name = next((each for each in names if each in lists), None)
            if name is None and not ids:
                continue  # the history of a frontend that is gone ends by itself
            frontend = parse_frontend(name, lists[name].rows) if name is not None else None
            marks = self._marks_of(frontend, answers) if frontend else {}
            lasts = {
                url: written.lasts
                for url, value in mapping(info).items()
                if (written := decode_mark(value))
            }
            self._found.marks[key] = MarksFound(frontend, sorted(map(text, ids)), marks, lasts)

    def _marks_of(self, frontend: Frontend, answers: Sequence[Any]) -> Marks:
        theirs, ours = self._found.servers[-1].clock
        return marks_of(frontend, answers, now=time.time(), ahead=noticed(theirs - ours))

    async def _settings(self, kind: str, keys: Sequence[str], frontends: set[str]) -> None:
        async for key, (size,) in self._read(keys, [("hlen", kind, ())]):
            if isinstance(size, ResponseError):
                await self._wrong(kind, key)
            elif key not in frontends:
                self._found.orphans.append((kind, key))

    async def _certificates(self, keys: Sequence[str]) -> None:
        reads = [("hmget", "tls", ("certificate", "key"))]
        async for name, (pair,) in self._read(keys, reads):
            if isinstance(pair, ResponseError):
                await self._wrong("tls", name)
                continue
            certificate, key = (text(value or b"") for value in pair)
            self._found.certificates[name] = certificate, key

    async def _wrong(self, kind: str, key: str) -> None:
        name = self._name(kind, key)
        found = text(await self._client.type(name))
        name = name.removeprefix(self._found.prefix)
        self._found.wrong_types.append(WrongType(name, found, TYPES[kind]))

    def _name(self, kind: str, key: str) -> str:
        if kind == "tls":
            return f"{self._found.prefix}tls:{key}"
        return self._names.of(f"{kind}:", key)

    async def _read(
        self, keys: Sequence[str], reads: Sequence[tuple[str, str, tuple[Any, ...]]]
    ) -> AsyncIterator[tuple[str, list[Any]]]:
        """Each key with the answers to `reads`: a command, the kind of key, further arguments."""
        for start in range(0, len(keys), KEYS_PER_TRIP):
            some = keys[start : start + KEYS_PER_TRIP]
            pipe = self._client.pipeline(transaction=False)
            for key in some:
                for command, kind, arguments in reads:
                    getattr(pipe, command)(self._name(kind, key), *arguments)
            answers = await pipe.execute(raise_on_error=False)
            for number, key in enumerate(some):
                yield key, answers[number * len(reads) : (number + 1) * len(reads)]
