"""What every test may ask for."""

import asyncio
from collections.abc import Iterator

import hypothesis
import pytest

from tests.redis_servers import RedisServer

# How long one example takes is the machine's business; pytest-timeout finds what hangs.
hypothesis.settings.register_profile("hipache", deadline=None)
hypothesis.settings.load_profile("hipache")


@pytest.fixture(scope="session")
def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("valkey"))
    asyncio.run(server.start())
    yield server
    server.kill()


@pytest.fixture
async def valkey(shared_valkey: RedisServer) -> RedisServer:
    """A real, empty Valkey: `.url`, `.unix_url`, `.client`. A test that harms it starts its own."""
    async with shared_valkey.client as client:
        await client.flushall()
        await client.script_flush()
    return shared_valkey
