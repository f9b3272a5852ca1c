"""Looks into the store that holds the routes. Reads everything, changes nothing."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from ..config.driver import Driver, parse_driver
from ..config.structs import Config
from ..errors import ConfigError, HipacheError
from ..routing import Frontend, lookup_keys, parse_frontend
from ..stores.embedded.store import EmbeddedServer
from ..stores.file.table import FileTable
from ..stores.redis.check_records import PING, PING_BY_US
from ..stores.redis.connections import Connections
from ..stores.redis.replies import mapping, marks_of, text
from ..tls.certificates import expiry, load_text
from .certificates import of_expiry, unusable
from .findings import Commands, Finding, Severity
from .redis_server import of_clock, of_persistence, of_ping, of_server, version_of
from .routes import Listed, MarksFound, of_frontend, of_marks, of_orphan, of_type

TYPES = {
    "frontend": "list", "options": "hash", "dead": "set", "dead-info": "hash",
    "healthcheck": "hash", "tls": "hash",
}  # fmt: skip
NEW_PAIR = ' certificate "$(cat new.crt)" key "$(cat new.key)"'
AT_ONCE = 500
"""Keys read in one round trip."""


async def look(config: Config, commands: Commands, *, timeout: float) -> tuple[list[Finding], str]:
    """What is wrong with the store and all in it, and in one phrase what was looked at."""
    drivers = [parse_driver(url) for url in config.driver]
    try:
        if drivers[0].scheme == "file":
            return await _file(drivers[0].path, commands)
        if drivers[0].scheme == "embedded":
            with EmbeddedServer(drivers[0].path) as server:
                return await _redis([server.driver], drivers[0].name, commands, timeout)
        return await _redis(drivers, drivers[0].name, commands, timeout)
    except (RedisError, OSError, HipacheError) as exc:
        return [_away(drivers[0], exc)], drivers[0].name


def _away(driver: Driver, exc: Exception) -> Finding:
    command, advice = "", "Start it, or let driver name the right one."
    if driver.scheme == "embedded" and isinstance(exc, ConfigError):
        command, advice = (
            "pip install 'hipache[embedded]'",
            "Install the server for it:",
        )
    elif isinstance(exc, AuthenticationError | NoPermissionError):
        advice = "Write the right user and password into driver: redis://user:password@host:port."
    reason = str(exc) or "no answer in time"
    return Finding(
        Severity.ERROR, "store-away", driver.name, f"it can not be read: {reason}",
        "Workers serve the routes that they know already; every other request gets 503.",
        command, advice,
    )  # fmt: skip


async def _file(path: str, commands: Commands) -> tuple[list[Finding], str]:
    try:
        table = await FileTable(path).read()
    except HipacheError as exc:
        return [Finding(
            Severity.ERROR, "bad-table", f"file:{path}", str(exc),
            "Workers keep the last table that was right; one that starts now knows no route.",
            f"${{EDITOR:-vi}} {path}",
        )], f"file:{path}"  # fmt: skip
    findings = [
        finding
        for key, entry in table.items()
        for finding in of_frontend(key, Listed(entry.rows, entry.options), table, commands)
    ]
    return findings + _none_at_all(len(table), f"file:{path}", commands), _counted(
        f"file:{path}", len(table)
    )


def _none_at_all(count: int, name: str, commands: Commands) -> list[Finding]:
    if count:
        return []
    example = commands.hipache("route", "set", "www.example.com", "http://127.0.0.1:8000")
    return [Finding(
        Severity.NOTE, "no-routes", name, "it holds no frontend",
        "Every request is answered 400.", example, "Add one, for example:",
    )]  # fmt: skip


def _counted(name: str, count: int) -> str:
    return f"{name} ({count} frontend{'s' * (count != 1)})"


async def _redis(
    drivers: Sequence[Driver], name: str, commands: Commands, timeout: float
) -> tuple[list[Finding], str]:
    commands = replace(commands, prefix=drivers[0].prefix)
    findings: list[Finding] = []
    reading = Connections(drivers[0], timeout=timeout)
    try:
        info = await _of_one_server(reading, name, len(drivers) == 1, commands, findings)
        if len(drivers) > 1:
            primary = replace(drivers[-1], database=drivers[0].database)
            writing = Connections(primary, timeout=timeout)
            try:
                await _of_one_server(writing, primary.name, True, commands, findings)
            except (RedisError, OSError) as exc:
                findings.append(_away(primary, exc))
            finally:
                await writing.aclose()
        keys = _Keys(reading.client, commands, findings)
        count = await keys.look()
        findings += _none_at_all(count, name, commands)
    finally:
        await reading.aclose()
    return findings, _counted(f"{name}, {' '.join(version_of(info))}", count)


async def _of_one_server(
    connections: Connections, name: str, alone: bool, commands: Commands, findings: list[Finding]
) -> dict[str, str]:
    """Its INFO; what is wrong with the server goes to `findings`."""
    client: Any = connections.client
    raw = await client.info("everything")
    info = {key: str(value) for key, value in raw.items()}
    before = time.time()
    seconds, microseconds = await client.time()
    findings += of_clock(seconds + microseconds / 1e6, (before + time.time()) / 2, name)
    findings += of_server(info, name, alone=alone, commands=commands)
    try:
        save = (await client.config_get("save")).get("save", "")
        findings += of_persistence(info, save, name, commands)
    except ResponseError:
        pass  # a server of somebody else's does not tell
    ping, ours = await client.mget(PING, PING_BY_US)
    if ping is not None:
        findings += of_ping(text(ping), ping == ours, time.time(), commands)
    return info


class _Keys:
    """Everything under our prefixes; what is wrong goes to `findings`."""

    def __init__(self, client: Any, commands: Commands, findings: list[Finding]) -> None:
        self._client = client
        self._commands = commands
        self._findings = findings
        self._table: dict[str, Frontend] = {}

    async def look(self) -> int:
        """How many frontends there are."""
        keys = await self._scanned()
        await self._frontends(sorted(keys["frontend"]))
        await self._marks(sorted(keys["dead"] | keys["dead-info"]))
        for kind in ("options", "healthcheck"):
            await self._settings(kind, sorted(keys[kind]), keys["frontend"])
        await self._certificates(sorted(keys["tls"]))
        return len(self._table)

    async def _scanned(self) -> dict[str, set[str]]:
        keys: dict[str, set[str]] = {kind: set() for kind in TYPES}
        prefix = self._commands.prefix
        async for raw in self._client.scan_iter(match=_pattern(prefix), count=10_000):
            kind, colon, key = text(raw).removeprefix(prefix).partition(":")
            if colon and kind in keys:
                keys[kind].add(key)
        return keys

    async def _frontends(self, keys: Sequence[str]) -> None:
        every = frozenset(keys)
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
                self._table[key] = parse_frontend(key, listed.rows)
                self._findings += of_frontend(key, listed, every, self._commands)

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
            frontend = next((self._table[name] for name in names if name in self._table), None)
            if frontend is None and not ids:
                continue  # the history of a frontend that is gone ends by itself
            found = MarksFound(
                frontend, sorted(map(text, ids)), marks_of(frontend, answers) if frontend else {}
            )
            self._findings += of_marks(key, found, time.time(), self._commands)

    async def _settings(self, kind: str, keys: Sequence[str], frontends: set[str]) -> None:
        async for key, (size,) in self._read(keys, [("hlen", kind, ())]):
            if isinstance(size, ResponseError):
                await self._wrong(kind, key)
            elif key not in frontends:
                self._findings.append(of_orphan(f"{kind}:", key, self._commands))

    async def _certificates(self, keys: Sequence[str]) -> None:
        reads = [("hmget", "tls", ("certificate", "key"))]
        async for name, (pair,) in self._read(keys, reads):
            if isinstance(pair, ResponseError):
                await self._wrong("tls", name)
                continue
            certificate, key = (text(value or b"") for value in pair)
            renew = self._commands.redis("hset", f"tls:{name}") + NEW_PAIR
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            try:
                load_text(context, certificate, key, name=f"tls:{name}")
                self._findings += of_expiry(f"tls:{name}", expiry(certificate.encode()), renew)
            except (ConfigError, ValueError) as exc:
                self._findings.append(unusable(f"tls:{name}", str(exc), renew))

    async def _wrong(self, kind: str, key: str) -> None:
        name = f"{kind}:{key}"
        found = text(await self._client.type(self._commands.prefix + name))
        self._findings.append(of_type(name, found, TYPES[kind], self._commands))

    async def _read(
        self, keys: Sequence[str], reads: Sequence[tuple[str, str, tuple[Any, ...]]]
    ) -> AsyncIterator[tuple[str, list[Any]]]:
        """Each key with the answers to `reads`: a command, the kind of key, further arguments."""
        for start in range(0, len(keys), AT_ONCE):
            some = keys[start : start + AT_ONCE]
            pipe = self._client.pipeline(transaction=False)
            for key in some:
                for command, kind, arguments in reads:
                    getattr(pipe, command)(f"{self._commands.prefix}{kind}:{key}", *arguments)
            answers = await pipe.execute(raise_on_error=False)
            for number, key in enumerate(some):
                yield key, answers[number * len(reads) : (number + 1) * len(reads)]


def _pattern(prefix: str) -> str:
    return "".join(f"\\{c}" if c in "*?[]\\^-" else c for c in prefix) + "*"
