"""Every field that docs/logs.md promises is written for some request that was served."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from tests.ports import free_port
from tests.processes import ROOT
from tests.redis_servers import RedisServer
from tests.tls.authority import trusting
from tests.tls.serving import Secured, secured
from tests.workers.site import echo


def documented() -> list[str]:
    """The names in the table of fields, without `request`, which only templates have."""
    text = (ROOT / "docs" / "logs.md").read_text("utf-8")
    table = text[text.index("| field | |") :].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell) if name != "request"]


async def ask(here: Secured, valkey: RedisServer) -> None:
    """A request that is tried again, one that fails, and a WebSocket, all over TLS."""
    nobody = f"http://127.0.0.1:{free_port()}"
    async with serve(echo, "127.0.0.1", 0) as echoes, valkey.client as client:
        port = next(iter(echoes.sockets)).getsockname()[1]
        await client.rpush("frontend:again.test", "the-site", nobody, here.backend.url)
        await client.hset("options:again.test", f"backup:{here.backend.url}", "on")
        await client.rpush("frontend:dead.test", "the-site", nobody)
        await client.rpush("frontend:ws.test", "the-site", f"http://127.0.0.1:{port}")
        for host in (b"again.test", b"dead.test"):
            await here.talk(
                b"POST /x HTTP/1.1\r\nHost: %b\r\nContent-Length: 3\r\nUser-Agent: me\r\n"
                b"Referer: http://b.test/\r\nContent-Type: application/grpc\r\n"
                b"Connection: close\r\n\r\nabc" % host
            )
        where: dict[str, Any] = {"host": "127.0.0.1", "port": here.port, "proxy": None}
        async with connect("wss://ws.test/", ssl=trusting(), **where) as chat:
            await chat.send("hello")
            await chat.recv()


async def test_every_documented_field_is_set_by_a_served_request(
    tmp_path: Path, valkey: RedisServer
) -> None:
    log = tmp_path / "log"
    server = {"accessLog": str(log), "accessLogFormat": "json"}
    async with secured(tmp_path, valkey, server=server) as here:
        await ask(here, valkey)
        here.service.signal(signal.SIGTERM)
        await here.service.ended()
    lines = [json.loads(line) for line in log.read_text("ascii").splitlines()]
    names = documented()
    assert sorted(lines[0]) == sorted(names)
    unset = [name for name in names if not any(line[name] for line in lines)]
    assert unset == []
    retried = next(line for line in lines if line["host"] == "again.test")
    assert retried["attempts"] == len(retried["retried_from"]) + 1 == 2
    assert {(line["scheme"], line["tls"]) for line in lines} == {("https", "TLSv1.3")}
