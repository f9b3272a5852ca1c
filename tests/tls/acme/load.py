"""Clients that ask for ever, and certificates that are near their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import cycle
from time import monotonic

import trustme

from tests.redis_servers import RedisServer
from tests.tls.acme.serving import ANYBODY, Proxy
from tests.tls.authority import chain, private

OURS = b"A CA for tests"
"""What is in each certificate of the CA in tests.tls.acme.ca."""
OLD = trustme.CA()
ENDING = timedelta(days=80)
"""The age of a certificate of 90 days that is near its end."""


async def put(valkey: RedisServer, name: str, age: timedelta, mark: str | None) -> None:
    begins = datetime.now(UTC) - age
    cert = OLD.issue_cert(name, not_before=begins, not_after=begins + timedelta(days=90))
    async with valkey.client as client:
        fields: list[bytes | bytearray | memoryview[int] | str | int | float]
        fields = ["certificate", chain(cert), "key", private(cert)]
        if mark:
            fields += ["acme", mark]
        await client.hset(f"tls:{name}", items=fields)


def told(times: list[float]) -> str:
    """Of handshakes with one request each."""
    times = sorted(times)
    median, most = times[len(times) // 2], times[len(times) * 99 // 100]
    return f"{len(times)}, median {median * 1000:.1f} ms, p99 {most * 1000:.1f} ms"


async def ask(to: Proxy, name: str, shown: set[str], issuer: bytes = OURS) -> float:
    """One handshake and one request; any failure is an error. `shown` gets names whose
    certificate is of this issuer."""
    began = monotonic()
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", to.https, ssl=ANYBODY, server_hostname=name
    )
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    if issuer in certificate:
        shown.add(name)
    writer.write(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
    assert (await reader.read()).endswith(b"hi")
    writer.transport.abort()
    return monotonic() - began


@asynccontextmanager
async def asking_for_ever(
    proxies: list[Proxy], names: list[str], shown: set[str], issuer: bytes = OURS
) -> AsyncIterator[list[float]]:
    times, over = list[float](), False

    async def ask_on(to: Proxy) -> None:
        for name in cycle(names):
            if over:
                return
            times.append(await ask(to, name, shown, issuer))

    tasks = [asyncio.create_task(ask_on(each)) for each in proxies for _ in range(2)]
    yield times
    over = True
    await asyncio.gather(*tasks)
