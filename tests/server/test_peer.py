"""Who is at the other end of a connection."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from pathlib import Path

import pytest

from app.server.peer import peer_in, peer_of
from tests.backends import answer, answering
from tests.processes import command, write_config
from tests.redis_servers import RedisServer
from tests.server.serving import Client


async def address_seen(server_side: socket.socket) -> str:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, server_side)
    address = peer_of(transport).address
    transport.abort()
    await asyncio.sleep(0)
    return address


async def test_a_client_that_has_gone_is_no_unix_socket() -> None:
    """Else it could say who it is where `unix:` is trusted."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for reset, address in ((False, "127.0.0.1"), (True, "")):
            client = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
            assert await address_seen(accepted) == address
            client.close()


async def test_a_unix_socket_has_its_word() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        assert await address_seen(ours) == "unix:"


@pytest.mark.parametrize(
    ("client", "server", "address"),
    [
        (("192.0.2.7", 1), ("192.0.2.1", 80), "192.0.2.7"),
        (None, ("/run/a.sock", None), "unix:"),
        (None, ["/run/a.sock", None], "unix:"),
        (None, ("192.0.2.1", 80), ""),
        (None, None, ""),
    ],
)
def test_what_other_servers_tell(client: object, server: object, address: str) -> None:
    assert peer_in({"scheme": "http", "client": client, "server": server}).address == address


FIELDS = b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n"


@pytest.mark.parametrize(
    ("trusted", "told"),
    [
        (["0.0.0.0/0", "::/0"], {b"x-forwarded-host": b"a.test", b"x-forwarded-proto": b"http"}),
        (
            ["unix:"],
            {
                b"x-forwarded-for": b"192.0.2.7",
                b"x-forwarded-host": b"a.test",
                b"x-forwarded-port": b"443",
                b"x-forwarded-proto": b"https",
                b"x-real-ip": b"192.0.2.7",
            },
        ),
    ],
)
async def test_a_proxy_in_front_of_a_unix_listener(
    tmp_path: Path, valkey: RedisServer, trusted: list[str], told: dict[bytes, bytes]
) -> None:
    path = write_config(tmp_path, valkey.url, workers=1, trustedProxies=trusted)
    values = json.loads(path.read_text()) | {"http": {"bind": f"unix:{tmp_path}/h.sock"}}
    path.write_text(json.dumps(values))
    async with (
        command("app.cli", "serve", cwd=tmp_path) as service,
        answering(answer(b"hi")) as backend,
    ):
        async with valkey.client as redis:
            await redis.rpush("frontend:a.test", "id", backend.url)
        await service.saw("worker ready")
        client = Client(*await asyncio.open_unix_connection(str(tmp_path / "h.sock")))
        client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n" + FIELDS + b"\r\n")
        assert (await client.response())[2] == b"hi"
        await client.close()
    [request] = backend.requests
    got = {name.lower(): value for name, value in request.headers}
    assert {name: got[name] for name in got if name.startswith((b"x-f", b"x-real"))} == told
