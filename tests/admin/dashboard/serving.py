"""A service whose dashboard can be looked at."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.admin.serving import observed
from tests.backends import ScriptedBackend, answer, answering, refusing
from tests.processes import Service
from tests.redis_servers import RedisServer

TOKEN = "dashboard-token"
HOSTILE = "<b>\"x'&.test"
"""A host that no proxy would accept, but anybody may write into the store."""


@asynccontextmanager
async def dashboard(
    folder: Path, valkey: RedisServer, **admin: Any
) -> AsyncIterator[tuple[Service, str, ScriptedBackend, str]]:
    """The service, the address of its admin listener, a backend, and the URL of a dead one."""
    async with (
        observed(folder, valkey.url, workers=1, **admin) as (service, client),
        answering(answer(b"hi")) as backend,
        refusing() as dead,
        valkey.client as redis,
    ):
        await redis.rpush("frontend:a.test", "id", backend.url, dead)
        await redis.hset("options:a.test", "policy", "round_robin")
        await redis.rpush("frontend:broken.test", "id", dead)
        await redis.rpush(f"frontend:{HOSTILE}", HOSTILE, backend.url)
        for _ in range(4):
            await service.ask("a.test")
        await service.ask("broken.test", "/page?token=secret")
        yield service, str(client.http.base_url).rstrip("/"), backend, dead


@asynccontextmanager
async def logged_in(base: str) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who has typed the token."""
    async with httpx.AsyncClient(base_url=base, follow_redirects=True, trust_env=False) as client:
        answer = await client.post("/login?to=/frontends", data={"token": TOKEN})
        assert (answer.status_code, answer.url.path) == (200, "/frontends")
        yield client


def form_token(page: str) -> str:
    found = re.search(r'name="form" value="(\w+)"', page)
    assert found is not None
    return found[1]
