"""How workers end: what runs is finished, or cut when its grace is over."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from app.workers import respawning
from tests.processes import ROOT, Service, command, program, serve, write_config
from tests.redis_servers import RedisServer, until
from tests.workers.site import Site, around, site, web_socket

LONG = [pytest.mark.long, pytest.mark.timeout(180)]


@pytest.mark.parametrize("seconds", [0, pytest.param(60, marks=LONG)])
@pytest.mark.parametrize("why", ["SIGHUP", "memory"])
async def test_what_runs_while_a_worker_is_replaced_ends_as_it_would_have(
    why: str, seconds: int, tmp_path: Path, valkey: RedisServer
) -> None:
    path = write_config(tmp_path, valkey.url, workers=1)
    memory = {"limit": 130, "checkInterval": 0.1}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"memory": memory}))
    way = "app.cli" if why == "SIGHUP" else "tests.leaking"
    async with command(way, "serve", cwd=tmp_path) as service:
        await service.ready(1)
        async with around(service, valkey, seconds) as here, web_socket(here) as chat:
            await what_runs_ends(here, chat, why)
            assert await service.saw('worker drained" gracefully=yes cut=0')
            await service.saw("worker ended.*status=0")


async def what_runs_ends(here: Site, chat: ClientConnection, why: str) -> None:
    """Start what lasts, have its worker replaced, and read all of it to the end."""
    download = await here.get(b"/download")
    await download.until(b"half")
    events = await here.get(b"/events")
    await events.until(b"data: 1\n\n\r\n")
    upload = await here.connect()
    size = 8 + here.seconds
    upload.send(b"POST /upload HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\nfirs" % size)
    if why == "SIGHUP":
        here.service.signal(signal.SIGHUP)
    else:
        over = asyncio.create_task(here.service.saw("memory over its limit.*action=recycle"))
        while not over.done():
            assert (await here.service.ask(target="/leak")).endswith(b"hi")
    await here.service.saw("worker draining.*why=replaced")
    async for _ in here.each_second():
        upload.send(b".")
        await chat.send("still here")
        assert await chat.recv() == "still here"
    here.gate.set()
    assert await download.rest() == b"." * here.seconds + b"half"
    comments = b"2\r\n:\n\r\n" * here.seconds
    assert await events.rest() == comments + b"9\r\ndata: 2\n\n\r\n0\r\n\r\n"
    upload.send(b"half")
    assert (await upload.response())[2] == b"firs" + b"." * here.seconds + b"half"
    await chat.send("still here")
    assert await chat.recv() == "still here"
    await chat.close()


async def test_a_replacement_serves_before_the_old_worker_drains(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with serve(tmp_path, valkey.url, workers=2) as service:
        service.signal(signal.SIGHUP)
        for _ in range(2):
            await service.saw("worker drained")
    events = [line for line in service.log if "worker ready" in line or "worker draining" in line]
    kinds = ["ready" if "worker ready" in line else "draining" for line in events[2:]]
    assert kinds == ["ready", "draining"] * 2


async def test_when_the_grace_is_over_the_rest_is_cut_counted_and_told(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with (
        site(tmp_path, valkey, workers=1, gracefulTimeout=0.5) as here,
        web_socket(here) as chat,
    ):
        download = await here.get(b"/download")
        await download.until(b"half")
        waiting = await here.get(b"/wait")
        here.service.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            await chat.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert await download.rest() == b""
        assert (await waiting.rest()).startswith(b"HTTP/1.1 503 ")
        assert await here.service.ended() == 0
    assert 'worker drained" gracefully=no cut=3' in "".join(here.service.log)


async def test_a_second_sigterm_ends_at_once(tmp_path: Path, valkey: RedisServer) -> None:
    async with site(tmp_path, valkey, workers=1) as here:
        waiting = await here.get(b"/wait")
        here.service.signal(signal.SIGTERM)
        await here.service.saw("worker draining")
        here.service.signal(signal.SIGTERM)
        assert await here.service.ended() == 0
        with suppress(ConnectionResetError):
            assert await waiting.rest() == b""


@pytest.mark.parametrize("grace", [pytest.param(0, id="for ever"), 30])
async def test_during_a_stop_requests_are_answered_and_told_that_it_is_the_last(
    grace: int, tmp_path: Path, valkey: RedisServer
) -> None:
    async with site(tmp_path, valkey, workers=1, gracefulTimeout=grace) as here:
        kept, idle = await here.get(b"/"), await here.get(b"/")
        for client in (kept, idle):
            assert b"connection: close" not in (await client.response())[1].lower()
        download = await here.get(b"/download")
        await download.until(b"half")
        here.service.signal(signal.SIGTERM)
        await until(here.refuses)
        kept.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        _, head, body = await kept.response()
        assert (b"connection: close" in head.lower(), body) == (True, b"hi")
        assert (await kept.rest(), await idle.rest()) == (b"", b"")
        here.gate.set()
        assert await download.rest() == b"half"
        assert await here.service.ended() == 0


async def test_a_request_that_is_just_arriving_is_not_cut(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with site(tmp_path, valkey, workers=1) as here:
        slow, ending = await here.connect(), await here.get(b"/")
        await ending.response()
        slow.send(b"GET / HTTP/1.1\r\nHo")
        here.service.signal(signal.SIGTERM)
        await ending.rest()  # idle ones have been closed
        slow.send(b"st: a.test\r\n\r\n")
        assert (await slow.response())[2] == b"hi"
        assert await here.service.ended() == 0


async def test_no_socket_file_is_left(tmp_path: Path, valkey: RedisServer) -> None:
    path = write_config(tmp_path, valkey.url)
    values = json.loads(path.read_text()) | {"http": {"bind": f"unix:{tmp_path}/proxy.sock"}}
    path.write_text(json.dumps(values))
    async with command("app.cli", "serve", cwd=tmp_path) as service:
        for _ in range(2):
            await service.saw("worker ready")
        assert (tmp_path / "proxy.sock").is_socket()
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
    assert not (tmp_path / "proxy.sock").exists()


def impatient(folder: Path, valkey: RedisServer, changes: str) -> Any:
    """`hipache serve` after `changes` to its constants, for what takes too long otherwise."""
    write_config(folder, valkey.url)
    modules = "respawning, serve, supervisor, worker, worker_pool"
    imports = f"from app import cli\nfrom app.workers import {modules}"
    code = f"{imports}\n{changes}\ncli.main(['serve'])"
    return program(sys.executable, "-c", code, cwd=folder, environ={"PYTHONPATH": str(ROOT)})


async def test_a_worker_that_hangs_is_replaced(tmp_path: Path, valkey: RedisServer) -> None:
    hasty = (
        "from functools import partial\n"
        "serve.Patience = partial(serve.Patience, hang_timeout=1)\nworker.REPORT_INTERVAL = .1"
    )
    async with impatient(tmp_path, valkey, hasty) as service:
        await service.ready(2)
        hung = service.workers()[0]
        os.kill(hung, signal.SIGSTOP)
        await service.saw(f"worker killed.*pid={hung} why=.gives no sign of life")
        await service.saw("worker ready")
        assert hung not in service.workers()


async def test_a_worker_that_says_nothing_any_more_does_not_keep_its_supervisor_busy(
    tmp_path: Path, valkey: RedisServer
) -> None:
    lasting = (
        "import sys, time\nalive = serve.run_worker\n"
        "def run(*args):\n"
        "    alive(*args)\n"
        "    args[-1].close()\n"  # as the kernel does while a process ends
        "    print('silent', file=sys.stderr, flush=True)\n"
        "    time.sleep(.6)\n"
        "serve.run_worker = run"
    )
    async with impatient(tmp_path, valkey, lasting) as service:
        await service.ready(2)
        service.signal(signal.SIGTERM)
        await service.saw("silent")
        assert await busy(service, 0.4) <= 0.05


async def busy(service: Service, seconds: float) -> float:
    """Seconds of CPU time that the supervisor uses in so many."""
    supervisor = psutil.Process(service.process.pid)
    before = supervisor.cpu_times()
    await asyncio.sleep(seconds)
    after = supervisor.cpu_times()
    return after.user + after.system - before.user - before.system


async def test_a_worker_that_died_before_a_stop_does_not_keep_the_supervisor_busy(
    tmp_path: Path, valkey: RedisServer
) -> None:
    """Another one would be due, and none is started any more."""
    async with site(tmp_path, valkey, workers=2) as here:
        download = await here.get(b"/download")
        await download.until(b"half")
        idle = [pid for pid in here.service.workers() if not serves(pid, here.service.port)]
        assert len(idle) == 1
        os.kill(idle[0], signal.SIGKILL)
        await here.service.saw("worker died")
        here.service.signal(signal.SIGTERM)
        await here.service.saw("worker draining")
        await asyncio.sleep(respawning.FIRST_DELAY)
        assert await busy(here.service, 0.4) <= 0.05
        here.gate.set()
        assert await download.rest() == b"half"


def serves(pid: int, port: int) -> bool:
    """Whether this process has a client on `port`."""
    connections = psutil.Process(pid).net_connections()
    return any(each.laddr.port == port for each in connections if each.raddr)


async def test_workers_are_not_killed_for_a_pause_of_everything(
    tmp_path: Path, valkey: RedisServer
) -> None:
    """A container that is paused, a virtual machine that is moved: all clocks jump."""
    jumping = (
        "import os, time, types\n"
        "now = lambda: time.monotonic() + (100 if os.path.exists('paused') else 0)\n"
        "supervisor.time = worker_pool.time = types.SimpleNamespace(monotonic=now)"
    )
    async with impatient(tmp_path, valkey, jumping) as service:
        await service.ready(2)
        before = service.workers()
        (tmp_path / "paused").touch()
        await service.saw("everything stood still. for=10[0-9]s")
        assert b" 400 " in await service.ask()
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
    assert len(before) == 2
    assert not [line for line in service.log if "worker killed" in line]


async def test_a_worker_that_dies_while_its_replacement_starts_has_its_successor(
    tmp_path: Path, valkey: RedisServer
) -> None:
    held = (
        "import os, time\nalive = serve.run_worker\nrespawning.FIRST_DELAY = .01\n"
        "def run(*args):\n"
        "    while os.path.exists('gate'):\n"  # not a FIFO: how many wait there is not known
        "        time.sleep(.01)\n"
        "    alive(*args)\n"
        "serve.run_worker = run"
    )
    async with impatient(tmp_path, valkey, held) as service:
        await service.ready(2)
        (tmp_path / "gate").touch()
        service.signal(signal.SIGHUP)
        await service.saw('worker started" worker=1')
        os.kill(min(service.workers()), signal.SIGKILL)
        await service.saw('worker died" worker=1')
        (tmp_path / "gate").unlink()
        await service.saw('worker ended" worker=2')
        assert len(service.workers()) == 2
    assert sum('worker started"' in line for line in service.log) == 4


async def test_a_worker_that_keeps_dying_waits_longer_and_spares_the_others(
    tmp_path: Path, valkey: RedisServer
) -> None:
    dying = (
        "import os\nalive = serve.run_worker\nrespawning.FIRST_DELAY = .02\n"
        "def run(*args):\n"
        "    os._exit(7) if 2 in args else alive(*args)\n"
        "serve.run_worker = run"
    )
    async with impatient(tmp_path, valkey, dying) as service:
        await service.ready(0)
        # The other worker may be ready before this or after it.
        await service.saw("worker keeps dying at once. worker=2 deaths=5 status=7")
        assert b" 400 " in await service.ask()
    assert any("worker=2" in line and "status=7" in line for line in service.log)
    assert not any('worker died" worker=1' in line for line in service.log)
