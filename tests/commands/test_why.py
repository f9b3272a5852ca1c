"""`hipache why` and `hipache failures` beside a service that runs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from app.errors import WebSocketsUnsupported
from tests.backends import answer, answering, refusing
from tests.commands.test_top import hipache
from tests.processes import ROOT, command, program, serve, write_config
from tests.redis_servers import RedisServer
from tests.upstream.http2.backend import speaking_http2


async def lines(folder: Path, *words: str) -> list[str]:
    said, status = await hipache(folder, *words)
    assert status == 0, said
    return said.splitlines()


CLOSE = "Connection: close\r\n"
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


async def failed(port: int, target: str, host: str = "a.test", fields: str = CLOSE) -> str:
    """The id that the page of a request that fails shows, as text."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode())
    page = (await reader.read()).decode()
    writer.close()
    found = re.search(r"\b[0-9a-f]{26}\b", page)
    assert found is not None, page
    return found[0]


async def test_an_id_of_a_page_is_told_by_whichever_worker_served_it(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with (
        refusing() as dead,
        valkey.client as redis,
        serve(tmp_path, valkey.url, 2) as service,
    ):
        await redis.rpush("frontend:a.test", "id", dead)
        ids = [await failed(service.port, f"/n?number={number}") for number in range(6)]
        for each in ids:
            first, where, attempt, *rest = await lines(tmp_path, "why", f" {each}\n")
            assert first.startswith("GET http://a.test/n?number=…  502 after ")
            assert "client 127.0.0.1, HTTP/1.1, frontend a.test, worker " in where
            assert attempt.startswith(f"  1. {dead}  connection refused after ")
            assert rest[-1].startswith("  why: ")
        (told,) = json.loads((await hipache(tmp_path, "why", "--json", ids[0]))[0])
        assert (told["id"], told["status"], told["tries"][0]["backend"]) == (ids[0], 502, dead)
        listed = await lines(tmp_path, "failures")
        assert [line.split("  ")[1] for line in listed] == ids
        assert await lines(tmp_path, "failures", "-n", "1") == listed[-1:]
        nothing = ["hipache: no request like this is kept"]
        assert await lines(tmp_path, "failures", "--host", "b.test") == nothing
        assert await lines(tmp_path, "failures", "--since", "1h", "--host", "a.test") == listed
        # What a worker has kept outlives it.
        for worker in service.workers():
            os.kill(worker, signal.SIGKILL)
        assert await lines(tmp_path, "failures") == listed


async def test_a_backend_with_h2c_is_told_of_as_any_other(
    tmp_path: Path, valkey: RedisServer
) -> None:
    there = tmp_path / "socket"
    gone = f"h2c+unix:{tmp_path}/none"
    async with (
        speaking_http2(path=there) as rude,
        speaking_http2() as plain,
        valkey.client as redis,
        serve(tmp_path, valkey.url, 1) as service,
    ):
        rude.on_end = lambda asked: asked.reset_by(2)
        for host, url in (("a.test", gone), ("b.test", rude.url), ("c.test", plain.url)):
            await redis.rpush(f"frontend:{host}", "id", url)
        for host, fields in (("a.test", CLOSE), ("b.test", CLOSE), ("c.test", UPGRADE)):
            await failed(service.port, "/", host, fields)
        listed = await lines(tmp_path, "failures")  # the same stories as those of `why`, at once
        doctor = json.loads((await hipache(tmp_path, "doctor", "--json"))[0])
    assert [re.split(r" {2,}", line)[4:6] for line in listed] == [
        [gone, "cannot connect to the backend: No such file or directory"],
        [rude.url, "the backend sent INTERNAL_ERROR"],
        [plain.url, f"{WebSocketsUnsupported.message}: its SETTINGS lack ENABLE_CONNECT_PROTOCOL"],
    ]
    (lost,) = (each for each in doctor["findings"] if each["name"] == "backend-unreachable")
    assert (lost["severity"], lost["subject"]) == ("error", "a.test")
    assert re.fullmatch(
        rf"{re.escape(gone)} takes no connection: a request \d+ s ago: "
        "cannot connect to the backend: No such file or directory",
        lost["problem"],
    )
    assert "gRPC with UNAVAILABLE" in lost["meaning"]
    assert lost["mend"] == f"hipache route remove a.test {gone}"


async def test_an_unknown_id_is_one_line(tmp_path: Path, valkey: RedisServer) -> None:
    async with serve(tmp_path, valkey.url, 1):
        said, status = await hipache(tmp_path, "why", "no\x1b[2J")
    assert (status, said) == (
        1,
        "hipache: no request 'no\\x1b[2J' is kept on this machine, "
        "nor by other proxies of its store\n",
    )


async def test_following_shows_what_comes(tmp_path: Path, valkey: RedisServer) -> None:
    async with (
        refusing() as dead,
        valkey.client as redis,
        serve(tmp_path, valkey.url, 1) as service,
    ):
        await redis.rpush("frontend:a.test", "id", dead)
        before = await failed(service.port, "/before")
        environ = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        words = ("failures", "--follow", "--json")
        async with program(
            sys.executable, "-m", "app.cli", *words, cwd=tmp_path, environ=environ, stdout=True
        ) as following:
            out = following.process.stdout
            assert out is not None
            assert json.loads(await out.readline())["id"] == before
            after = await failed(service.port, "/after")
            assert json.loads(await out.readline())["id"] == after
            following.signal(signal.SIGINT)
            assert await following.ended() == 0


async def test_where_nothing_is_kept_that_is_said(tmp_path: Path, valkey: RedisServer) -> None:
    write_config(tmp_path, valkey.url)
    said, status = await hipache(tmp_path, "failures")
    assert status == 1
    assert "config.json" in said
    write_config(tmp_path, valkey.url, flightRecorder=False)
    for words in (("failures",), ("why", "x")):
        said, status = await hipache(tmp_path, *words)
        assert (status, said) == (
            1,
            "hipache: config.json: server.flightRecorder is off: no request is kept\n",
        )


async def test_a_bare_uvicorn_keeps_them_too(tmp_path: Path, valkey: RedisServer) -> None:
    write_config(tmp_path, valkey.url)
    async with (
        refusing() as dead,
        valkey.client as redis,
        command("uvicorn", "app:create_app", "--factory", "--port", "0", cwd=tmp_path) as service,
    ):
        await redis.rpush("frontend:a.test", "id", dead)
        port = int((await service.saw(r"running on http://127\.0\.0\.1:(\d+)"))[1])
        each = await failed(port, "/")
        assert (await lines(tmp_path, "why", each))[0].startswith("GET http://a.test/  502 after")


@pytest.mark.parametrize("words", [("--since", "soon"), ("--last", "0")])
async def test_a_wrong_option_is_named(tmp_path: Path, words: tuple[str, str]) -> None:
    said, status = await hipache(tmp_path, "failures", *words)
    assert status == 2
    assert words[0] in said


async def test_good_requests_are_a_sample(tmp_path: Path, valkey: RedisServer) -> None:
    async with (
        answering(answer(b"hi", b"X-Request-Id: theirs")) as backend,
        valkey.client as redis,
        serve(tmp_path, valkey.url, 1, requestIdHeader="X-Request-Id") as service,
    ):
        await redis.rpush("frontend:a.test", "id", backend.url)
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        head = (await reader.read()).decode().lower()
        writer.close()
        each = head.partition("x-request-id: ")[2].split()[0]

        async with asyncio.timeout(20):
            while (await hipache(tmp_path, "why", each))[1]:
                pass  # it is kept when its last byte was sent
        first, _, attempt = await lines(tmp_path, "why", each)
        assert first.startswith("GET http://a.test/  200 after ")
        assert attempt.startswith(f"  1. {backend.url}  answered with status 200, ")
