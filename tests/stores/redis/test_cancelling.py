"""A task that is told to end ends, whatever it is about to send to Redis."""

from __future__ import annotations

import asyncio

import pytest

from app.config.store_address import StoreAddress
from app.stores.redis.connections import Connections
from app.stores.redis.url import parse_url
from tests.redis_servers import RedisServer

TURNS = 8
"""Turns of the loop that a command takes at most until it is sent."""


@pytest.mark.parametrize("way", ["tcp", "unix"])
async def test_no_cancellation_is_lost_while_a_command_is_sent(
    valkey: RedisServer, way: str
) -> None:
    url = valkey.url if way == "tcp" else valkey.unix_url
    connections = Connections(parse_url(StoreAddress(url)), timeout=5)
    for turns in range(TURNS):
        _, connection = connections.pushing()
        await connection.connect()  # type: ignore[no-untyped-call]
        sending = asyncio.create_task(connection.send_command("PING"))
        for _ in range(turns):
            await asyncio.sleep(0)
        told = sending.cancel()
        await asyncio.wait({sending})
        assert sending.cancelled() is told
        assert connection.is_connected is not told or turns == 0  # it had not begun
        await connection.disconnect()
    assert not told, "it was never sent within these turns"
    await connections.aclose()
