"""HTTP and WebSockets over TLS, and sockets that systemd hands over."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve as serve_web_socket

from tests.backends import answer, answering
from tests.processes import ROOT, program
from tests.redis_servers import RedisServer
from tests.tls.authority import trusting
from tests.tls.serving import Secured, secured, write_tls_config
from tests.workers.site import echo


async def test_one_worker_serves_http_and_https(tmp_path: Path, valkey: RedisServer) -> None:
    async with secured(tmp_path, valkey) as here:
        assert (await here.service.ask()).endswith(b"hi")
        assert (await here.get()).endswith(b"hi")
        plain, encrypted = here.backend.requests
        assert plain.get(b"x-forwarded-proto") == b"http"
        assert encrypted.get(b"x-forwarded-proto") == b"https"
        assert encrypted.get(b"x-client-cert-subject") is None


async def test_a_web_socket_passes_tls(tmp_path: Path, valkey: RedisServer) -> None:
    async with secured(tmp_path, valkey) as here, serve_web_socket(echo, "127.0.0.1", 0) as echoes:
        port = next(iter(echoes.sockets)).getsockname()[1]
        async with valkey.client as client:
            await client.rpush("frontend:ws.test", "id", f"http://127.0.0.1:{port}")
        async with connect(
            "wss://ws.test/", host="127.0.0.1", port=here.port, ssl=trusting(), proxy=None
        ) as chat:
            await chat.send("hello")
            assert await chat.recv() == "hello"


ACTIVATED = """
import os, socket
for number in (20, 21):
    os.dup2(socket.create_server(("127.0.0.1", 0)).detach(), number)
for number in (3, 4):
    os.dup2(number + 17, number)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:https"}
from app.cli import main
main(["serve"])
"""
"""What systemd does for a `hipache.socket`: sockets from descriptor 3 on, with names."""


async def test_sockets_of_systemd_are_served(tmp_path: Path, valkey: RedisServer) -> None:
    write_tls_config(tmp_path, valkey.url)
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    run = (sys.executable, "-c", ACTIVATED)
    async with (
        program(*run, cwd=tmp_path, environ=environ) as service,
        answering(answer(b"hi")) as backend,
    ):
        async with valkey.client as client:
            await client.rpush("frontend:a.test", "id", backend.url)
        here = Secured(service, backend)
        service.port = int((await service.saw(r"address=127.0.0.1:(\d+) scheme=http$"))[1])
        here.port = int((await service.saw(r"address=127.0.0.1:(\d+) scheme=https$"))[1])
        await service.saw("worker ready")
        assert (await service.ask()).endswith(b"hi")
        assert (await here.get()).endswith(b"hi")
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
    assert sum("listening address" in line for line in service.log) == 2
