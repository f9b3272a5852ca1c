"""A running service with an admin listener."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.admin_client import AdminClient
from tests.processes import Service, command, write_config

REQUESTS = "hipache_requests_total"


@asynccontextmanager
async def observed(
    folder: Path, driver: str, workers: int = 2, **keys: Any
) -> AsyncIterator[tuple[Service, AdminClient]]:
    """`hipache serve` with an admin listener on a free port, and somebody to ask it."""
    write_config(folder, driver, workers, admin={"bind": "127.0.0.1:0"} | keys)
    async with command("app.cli", "serve", cwd=folder) as service:
        address = (await service.saw(r'"admin listening" address=(\S+)'))[1]
        await service.ready(workers)
        client = AdminClient(address, keys.get("token"))
        async with client.http:
            yield service, client


async def load(service: Service, count: int, statuses: Counter[str]) -> None:
    """So many requests, what came back in `statuses` by class."""

    async def some() -> None:
        for number in range(count // 10):
            reply = await service.ask("a.test" if number % 5 else "nobody.test")
            statuses[f"{reply[9:10].decode()}xx"] += 1

    await asyncio.gather(*(some() for _ in range(10)))


async def until_answered(admin: AdminClient) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await admin.http.get("/healthz")
            except httpx.TransportError:
                await asyncio.sleep(0.01)
            else:
                return
