"""`hipache serve` as a process: it comes, it stays whatever dies, and it goes when told to."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import psutil
import pytest

from tests.backends import Conversation, answer, answering, scripted
from tests.processes import ROOT, command, program, runs, serve, write_config
from tests.redis_servers import RedisServer, until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_requests_are_served_and_a_signal_ends_it_all(
    number: signal.Signals, tmp_path: Path, valkey: RedisServer
) -> None:
    async with serve(tmp_path, valkey.url) as service, answering(answer(b"hi")) as backend:
        async with valkey.client as client:
            await client.rpush("frontend:a.test", "id", backend.url)
        assert (await service.ask()).endswith(b"hi")
        workers = service.workers()
        for pid in workers if number == signal.SIGINT else ():
            os.kill(pid, number)  # as a terminal does: Ctrl-C is for everybody
        service.signal(number)
        assert await service.ended() == 0
        assert not any(psutil.pid_exists(pid) for pid in workers)
    assert sum('worker drained" gracefully=yes' in line for line in service.log) == 2


async def test_workers_may_open_all_the_files_that_the_system_allows(
    tmp_path: Path, valkey: RedisServer
) -> None:
    write_config(tmp_path, valkey.url, workers=1)
    shell = 'ulimit -Sn 256; exec "$0" -m app.cli serve'
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    async with program("sh", "-c", shell, sys.executable, cwd=tmp_path, environ=environ) as service:
        await service.ready(1)
        (worker,) = service.workers()
        soft, hard = psutil.Process(worker).rlimit(psutil.RLIMIT_NOFILE)
    assert soft == min(hard, 1 << 20)


async def test_workers_share_what_they_have_alike(tmp_path: Path, valkey: RedisServer) -> None:
    async with serve(tmp_path, valkey.url) as service:
        await service.ask()
        loaded = {each.path for each in psutil.Process(service.pid).memory_maps()}
        assert any("/uvloop/" in path for path in loaded)
        for worker in map(psutil.Process, service.workers()):
            memory = worker.memory_full_info()
            assert memory.uss < 0.45 * memory.rss


async def test_a_killed_worker_is_replaced(tmp_path: Path, valkey: RedisServer) -> None:
    async with serve(tmp_path, valkey.url) as service:
        killed = service.workers()[0]
        os.kill(killed, signal.SIGKILL)
        await service.saw(f"worker died.*pid={killed}")
        await service.saw("worker ready")
        assert killed not in service.workers()
        assert len(service.workers()) == 2


async def test_workers_do_not_outlive_a_killed_supervisor(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with serve(tmp_path, valkey.url) as service:
        workers = [psutil.Process(pid) for pid in service.workers()]
        _, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(b"GET / HTTP/1.1\r\nHo")
        service.signal(signal.SIGKILL)
        await service.ended()
        await until(lambda: not any(runs(worker) for worker in workers))
        writer.close()
    log = "".join(service.log)
    assert log.count("the supervisor is gone") == 2
    assert "Traceback" not in log


async def test_sighup_brings_new_workers_with_the_new_configuration(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with serve(tmp_path, valkey.url, workers=1) as service:
        before = service.workers()
        write_config(tmp_path, valkey.url, workers=2)
        service.signal(signal.SIGHUP)
        for _ in range(3):  # the second may be ready after the old one has ended
            await service.saw("worker (ready|ended)")
        assert len(service.workers()) == 2
        assert before[0] not in service.workers()


async def test_a_bad_configuration_is_refused_and_the_old_one_serves_on(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with serve(tmp_path, valkey.url, workers=1) as service:
        workers = service.workers()
        (tmp_path / "config.json").write_text('{"server": {"wrokers": 1}}')
        service.signal(signal.SIGHUP)
        await service.saw("configuration refused.*wrokers")
        assert service.workers() == workers
        assert b" 400 " in await service.ask()


async def test_sigttin_and_sigttou_add_and_remove_a_worker(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with serve(tmp_path, valkey.url, workers=1) as service:
        service.signal(signal.SIGTTIN)
        await service.saw("worker ready.*worker=2")
        service.signal(signal.SIGTTOU)
        await service.saw("worker ended.*worker=2")
        service.signal(signal.SIGTTOU)
        await service.saw("workers=1 was=1")  # one stays
        assert len(service.workers()) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"server": {"prot": 80}}, "config.json: server.prot: "),
        ({"driver": "mongodb://x"}, "config.json: driver: "),
        ({"user": "nobody-has-this-name"}, "user: there is no user 'nobody-has-this-name'"),
        (
            {"server": {"accessLog": "config.json/access.log"}},
            "config.json: server.accessLog: {folder}/config.json/access.log: ",
        ),
        (
            {"https": {"bind": "::1", "port": 0, "cert": "config.json", "key": "config.json"}},
            "https.bind[0]: {folder}/config.json with {folder}/config.json: not a certificate",
        ),
    ],
)
async def test_what_keeps_it_from_starting_is_one_line_and_status_78(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    if "user" in change and os.geteuid() != 0:
        change, message = {"server": {"workers": -1}}, "config.json: server.workers: "
    path = write_config(tmp_path, "redis:")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    async with command("app.cli", "serve", cwd=tmp_path) as service:
        assert await service.ended() == 78
        told = [line for line in service.log if line.startswith("hipache: ")]
        assert len(told) == 1
        assert message.format(folder=tmp_path) in told[0]
        assert "Traceback" not in "".join(service.log)
        assert "worker started" not in "".join(service.log)


async def test_a_port_in_use_is_named_before_any_worker_starts(tmp_path: Path) -> None:
    path = write_config(tmp_path, "redis:")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        values = json.loads(path.read_text())
        values["http"] = {"port": port}
        path.write_text(json.dumps(values))
        async with command("app.cli", "serve", cwd=tmp_path) as service:
            assert await service.ended() == 78
    assert f"cannot listen on 127.0.0.1:{port}: the address is in use" in "".join(service.log)
    assert "worker started" not in "".join(service.log)


async def test_a_bare_uvicorn_gets_our_protocols_and_adds_nothing_of_its_own(
    tmp_path: Path, valkey: RedisServer
) -> None:
    write_config(tmp_path, valkey.url)
    bare = ("uvicorn", "app:create_app", "--factory", "--workers", "2", "--port", "0")
    async with command(*bare, cwd=tmp_path) as service, answering(answer(b"hi")) as backend:
        await service.bare_ready(2)
        async with valkey.client as client:
            await client.rpush("frontend:a.test", "id", backend.url)
        reply = (await service.ask()).lower()
        assert reply.endswith(b"hi")
        assert reply.count(b"\r\ndate:") == 1  # ours: the backend sent none
        assert b"\r\nserver:" not in reply
        assert b" 400 " in await service.ask("a.test\r\nHost: b.test")


async def test_bodies_pass_without_staying_in_memory(tmp_path: Path, valkey: RedisServer) -> None:
    size = 192 * 2**20

    async def script(conversation: Conversation) -> None:
        head = await conversation.head()
        if head.line[0] == b"POST":
            left = size
            while left:
                left -= len(await conversation.reader.read(2**20))
            await conversation.send(answer())
            return
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 2**20):
            await conversation.send(bytes(2**20))

    async with serve(tmp_path, valkey.url, workers=1) as service, scripted(script) as backend:
        async with valkey.client as client:
            await client.rpush("frontend:a.test", "id", backend.url)
        worker = psutil.Process(service.workers()[0])
        before = worker.memory_info().rss
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(size // 2**20):
            await reader.readexactly(2**20)
        assert worker.memory_info().rss - before < 30 * 2**20
        writer.write(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 2**20):
            writer.write(bytes(2**20))
            await writer.drain()
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        assert worker.memory_info().rss - before < 30 * 2**20
        writer.close()
