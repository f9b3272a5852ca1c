"""All that a Redis holds under our prefixes, for `hipache doctor`. Reads; changes nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

from redis.exceptions import ConnectionError, RedisError, ResponseError

from ...errors import StoreUnavailable
from ..driver import NotOffered
from ..inspection import Inspection, ServerFacts
from .check_records import PING, PING_BY_US, ping_by_us
from .cluster.cluster_connections import ClusterConnections
from .connections import Connections, StoreLink
from .inspected_keys import InspectedKeys
from .keys import KeyNames
from .links import connect
from .replies import text
from .url import RedisURL

COVERAGE = "cluster-require-full-coverage"


async def inspect(
    urls: Sequence[RedisURL], *, timeout: float, name: str | None = None
) -> AsyncGenerator[Inspection, None]:
    """`name`: what the operator calls the server; else its URL. Raises StoreUnavailable, and
    NotOffered where it gives routes, but closes on what is asked here, as twemproxy does."""
    found = Inspection(prefix=urls[0].prefix, tagged=urls[0].tagged, commands=True)
    names = KeyNames(urls[0].prefix, tagged=urls[0].tagged)
    reading = connect(urls[0], timeout=timeout)
    by_us = ping_by_us(urls[0])
    try:
        alone = len(urls) == 1
        pings = await reading.client.mget(PING, by_us)
        for where, link in await _servers(reading, name or urls[0].name):
            found.servers.append(await _facts(link, where, pings, alone=alone))
            pings = [None, None]  # told once
            found.total += sum(n for n in await link.ask([("DBSIZE",)]) if isinstance(n, int))
        if not alone:
            await _look_at_primary(replace(urls[-1], database=urls[0].database), timeout, found)
        yield found
        async for part in InspectedKeys(reading, names, found.servers[-1].clock).parts():
            yield part
    except (RedisError, OSError) as exc:
        if isinstance(exc, ConnectionError) and await _gives_routes(reading):
            raise NotOffered("it answers reads, but not INFO, TIME or SCAN") from exc
        raise StoreUnavailable(str(exc) or "no answer in time") from exc
    finally:
        await reading.aclose()


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
    ping, ours = pings
    return ServerFacts(
        name, alone, {key: str(value) for key, value in raw.items()}, clock,
        save=await _setting(client, "save"),
        ping=None if ping is None else (text(ping), ping == ours),
        coverage=await _setting(client, COVERAGE) if raw.get("cluster_enabled") else None,
    )  # fmt: skip


async def _setting(client: Any, name: str) -> str | None:
    try:
        return str((await client.config_get(name)).get(name, ""))
    except ResponseError:
        return None  # a hosted server does not tell
