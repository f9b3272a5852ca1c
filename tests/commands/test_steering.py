"""Commands that change one option, beside a service that runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.backends import Conversation, answer, answering, scripted
from tests.commands.test_top import hipache
from tests.ports import free_port
from tests.processes import Service, serve
from tests.redis_servers import RedisServer, until


async def done(folder: Path, *words: str) -> list[str]:
    said, status = await hipache(folder, *words)
    assert status == 0, said
    return said.splitlines()


async def status_of(service: Service, host: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    head = await reader.read()
    writer.close()
    return int(head.split()[1])


async def test_a_site_is_shut_and_opened_again(tmp_path: Path, valkey: RedisServer) -> None:
    async with (
        answering(answer(b"hi")) as backend,
        valkey.client as redis,
        serve(tmp_path, valkey.url, 2) as service,
    ):
        await redis.rpush("frontend:a.test", "id", backend.url)
        await redis.hset("options:a.test", "policy", "round_robin")
        assert await status_of(service, "a.test") == 200
        shut = ("maintenance", "on", "a.test", "--message", "Back at noon", "--retry-after", "2h")
        await done(tmp_path, *shut, "--allow", "192.0.2.0/24", "--wait")
        assert await status_of(service, "a.test") == 503
        assert await done(tmp_path, "option", "list", "a.test") == [
            "maintenance = Back at noon",
            "maintenanceAllow = 192.0.2.0/24",
            "maintenanceRetry = 7200",
            "policy = round_robin",
        ]
        await done(tmp_path, "maintenance", "off", "a.test", "--wait")
        assert await status_of(service, "a.test") == 200
        assert await redis.hgetall("options:a.test") == {"policy": "round_robin"}
        await done(tmp_path, "option", "set", "a.test", "wakeTimeout", "1m")
        assert await redis.hget("options:a.test", "wakeTimeout") == "60"


async def test_a_drain_waits_until_nothing_is_in_flight(
    tmp_path: Path, valkey: RedisServer
) -> None:
    release = asyncio.Event()

    async def slow(talk: Conversation) -> None:
        await talk.receive()
        await release.wait()
        await talk.send(answer(b"late"))

    admin = {"bind": f"127.0.0.1:{free_port()}"}
    async with (
        scripted(slow) as old,
        answering(answer(b"hi")) as new,
        valkey.client as redis,
        serve(tmp_path, valkey.url, 1, admin=admin) as service,
    ):
        await redis.rpush("frontend:a.test", "id", old.url)
        running = asyncio.create_task(status_of(service, "a.test"))
        await until(lambda: len(old.requests) == 1)
        await done(tmp_path, "route", "add", "a.test", new.url)
        said, status = await hipache(tmp_path, "drain", "a.test", old.url, "--wait", "3")
        assert (status, "1 still in flight" in said) == (1, True), said
        waiting = asyncio.create_task(done(tmp_path, "drain", "a.test", old.url, "--wait"))
        assert {await status_of(service, "a.test") for _ in range(5)} == {200}
        assert len(old.requests) == 1
        assert not waiting.done()
        release.set()
        assert (await waiting)[-1] == f"a.test  {old.url}  drained, nothing in flight"
        assert await running == 200
        await done(tmp_path, "undrain", "a.test", old.url)
        assert await redis.exists("options:a.test") == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("drain", "a.test", "http://127.0.0.1:2"), "is none of its backends: http://127.0.0.1:1"),
        (("drain", "b.test", "http://127.0.0.1:1"), "no frontend b.test"),
        (("drain", "a b", "http://127.0.0.1:1"), "is no host"),
        (("drain", "a.test", "http://127.0.0.1:1", "--wait"), "admin.bind is null"),
        (("option", "set", "a.test", "polcy", "hash"), "did you mean policy?"),
        (("option", "set", "a.test", "policy", "fastest"), "policy 'fastest' is none of"),
        (("option", "set", "a.test", "alow", "10.0.0.0/8"), "did you mean allow?"),
        (("option", "unset", "a.test", "policy"), "no option 'policy' is set"),
        (("maintenance", "on", "a.test", "--message", "off"), "expected some words"),
        (("maintenance", "on", "a.test", "--allow", "home"), "maintenanceAllow: 'home'"),
        (("maintenance", "on", "a.test", "--retry-after", "8d"), "--retry-after"),
    ],
)
async def test_what_cannot_be_meant_is_not_written(
    tmp_path: Path, words: tuple[str, ...], complaint: str
) -> None:
    (tmp_path / "config.json").write_text('{"driver": "file:routes.json", "admin": {"bind": null}}')
    table = '{"a.test": {"id": "a", "backends": ["http://127.0.0.1:1"]}}'
    (tmp_path / "routes.json").write_text(table)
    said, status = await hipache(tmp_path, *words)
    assert status != 0
    assert complaint in " ".join(said.split())
    assert "Traceback" not in said
    assert (tmp_path / "routes.json").read_text() == table
