"""Every test of the engine runs on asyncio's own event loop and on uvloop, which workers use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from app.config.structs import Config, ServerConfig
from app.upstream.client import UpstreamClient


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def server() -> dict[str, object]:
    """Keys of `server` for `client`; a test parametrizes it."""
    return {}


@pytest.fixture
async def client(server: dict[str, object]) -> AsyncIterator[UpstreamClient]:
    async with UpstreamClient(Config(server=ServerConfig(**server))) as client:
        yield client
