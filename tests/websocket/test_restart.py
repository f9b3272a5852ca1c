"""Sockets and the processes that serve them: `hipache serve`, its workers replaced."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect

from tests.processes import serve
from tests.websocket.peers import echo_backend

SOCKETS = 200


async def say_hello(client: ClientConnection) -> None:
    await client.send("hello")
    assert await client.recv() == "hello"


async def test_200_sockets_live_through_the_replacement_of_their_workers(
    mode: str, tmp_path: Path
) -> None:
    async with echo_backend() as there:
        routes = tmp_path / "routes.toml"
        routes.write_text(f'["ws.test"]\nid = "it"\nbackends = ["{there.url}"]\n')
        async with serve(
            tmp_path, f"file:{routes}", webSocketRelay=mode == "relay", gracefulTimeout=1
        ) as service:
            where = {"host": "127.0.0.1", "port": service.port, "proxy": None}
            clients = [await connect("ws://ws.test/", **where) for _ in range(SOCKETS)]
            service.signal(signal.SIGHUP)
            for _ in range(2):
                await service.saw("worker draining")
            await asyncio.gather(*map(say_hello, clients))
            async with connect("ws://ws.test/", **where) as newcomer:
                await say_hello(newcomer)
            service.signal(signal.SIGTERM)
            await asyncio.gather(*(client.wait_closed() for client in clients))
            assert {client.close_code for client in clients} == {1012}
            assert await service.ended() == 0
