"""SIGUSR2 and `hipache upgrade`: the installed version goes on where the running one stops."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed

from app.workers.successor import Successor, own_program
from tests.processes import ROOT, command, write_config
from tests.redis_servers import RedisServer, until
from tests.workers.load import load
from tests.workers.releases import drained, hipache, processes, upgradable
from tests.workers.site import around, web_socket

LONG = [pytest.mark.long, pytest.mark.timeout(180)]
TOOK_OVER = r"took over. pid=(\d+)"


def change(folder: Path, **values: Any) -> None:
    """Sections of config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


async def report(folder: Path) -> dict[str, Any]:
    """What `hipache status` says."""
    status, printed = await hipache(folder, "status", "--json")
    assert status == 0, printed
    told: dict[str, Any] = json.loads(printed)
    return told


@pytest.mark.parametrize(
    ("clients", "web_sockets", "requests"),
    [(8, 2, 200), pytest.param(64, 20, 20_000, marks=LONG)],
)
async def test_an_upgrade_under_load_loses_nothing(
    clients: int, web_sockets: int, requests: int, tmp_path: Path, valkey: RedisServer
) -> None:
    # On a busy machine the download may be silent for longer than 30 s.
    write_config(tmp_path, valkey.url, workers=2, tcpTimeout=600)
    async with (
        upgradable(tmp_path, workers=2) as (service, releases),
        around(service, valkey) as here,
        load(service.port, clients) as seen,
        AsyncExitStack() as stack,
    ):
        chats = [await stack.enter_async_context(web_socket(here)) for _ in range(web_sockets)]
        download = await here.get(b"/download")
        await download.until(b"half")
        await seen.more(requests)
        releases.install("9.9.9")
        status, printed = await hipache(tmp_path, "upgrade")
        assert (status, "version 9.9.9; " in printed) == (0, True), printed
        await seen.more(requests)
        assert seen.faults == []
        for chat in chats:
            await chat.send("still here")
            assert await chat.recv() == "still here"
        told = await report(tmp_path)
        assert (told["version"], told["predecessor"]) == ("9.9.9", service.pid)
        assert len(told["workers"]) == 2
        here.gate.set()
        assert await download.rest() == b"half"
        for chat in chats:
            await chat.close()
        assert await drained(service) == 0
        await until(lambda: len(processes(tmp_path)) == 3)  # one supervisor and its workers
        assert (await report(tmp_path))["predecessor"] is None
        await seen.more(clients)
        assert seen.faults == []


async def test_what_the_old_version_serves_has_its_grace(
    tmp_path: Path, valkey: RedisServer
) -> None:
    write_config(tmp_path, valkey.url, workers=1)
    change(tmp_path, memory={"gracefulWait": 1.5})
    async with (
        upgradable(tmp_path) as (service, _),
        around(service, valkey) as here,
        web_socket(here) as chat,
    ):
        service.signal(signal.SIGUSR2)
        await service.saw(TOOK_OVER)
        await chat.send("still here")
        assert await chat.recv() == "still here"
        with pytest.raises(ConnectionClosed) as closed:
            await chat.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert await drained(service) == 0


BROKEN = [
    pytest.param({"main": "import no_such_module"}, "No module named 'no_such_module' (it ended",
                 id="does not start"),
    pytest.param({"workers__serve": "def run_worker(*_): raise SystemExit(7)"},
                 "worker 1 ended with status 7", id="workers die"),
    pytest.param({"workers__serve": "import signal; os.kill(os.getpid(), signal.SIGKILL)"},
                 "it ended with status SIGKILL", id="killed"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "why"), BROKEN)
async def test_a_version_that_cannot_serve_leaves_the_old_one_in_place(
    changes: dict[str, str], why: str, tmp_path: Path, valkey: RedisServer
) -> None:
    write_config(tmp_path, valkey.url, workers=1)
    async with (
        upgradable(tmp_path) as (service, releases),
        around(service, valkey),
        load(service.port, 2) as seen,
    ):
        workers = service.workers()
        releases.install("9.9.9", **changes)
        status, printed = await hipache(tmp_path, "upgrade")
        assert (status, why in printed) == (1, True), printed
        await service.saw("upgrade failed, this version stays. cause=.*" + why.partition(" (")[0])
        await until(lambda: service.workers() == workers)
        await seen.more(50)
        assert seen.faults == []
        assert (tmp_path / ".hipache/status.sock").is_socket()
        # Once it is mended, the upgrade can be asked for again.
        releases.install("9.9.10")
        service.signal(signal.SIGUSR2)
        await service.saw(TOOK_OVER)
        await seen.more(50)
        assert seen.faults == []


async def test_a_version_that_hangs_is_given_up(tmp_path: Path, valkey: RedisServer) -> None:
    write_config(tmp_path, valkey.url, workers=1)
    hasty = "from app.workers import upgrades\nupgrades.READY_WITHIN = .5"
    async with upgradable(tmp_path, before=hasty) as (service, releases):
        releases.install("9.9.9", workers__serve="import time; time.sleep(100)")
        service.signal(signal.SIGUSR2)
        await service.saw("upgrade failed, this version stays. cause=.it was not ready within")
        await until(lambda: len(service.workers()) == 1)
        assert b" 400 " in await service.ask()


async def test_a_second_upgrade_waits_for_the_first(tmp_path: Path, valkey: RedisServer) -> None:
    write_config(tmp_path, valkey.url, workers=1)
    async with upgradable(tmp_path) as (service, _), around(service, valkey) as here:
        download = await here.get(b"/download")
        await download.until(b"half")
        service.signal(signal.SIGUSR2)
        await service.saw("upgrade started")
        service.signal(signal.SIGUSR2)
        await service.saw("upgrade ignored: one is running already")
        second = int((await service.saw(TOOK_OVER))[1])
        os.kill(second, signal.SIGUSR2)  # the first drains still
        third = int((await service.saw(TOOK_OVER))[1])
        assert len({service.pid, second, third}) == 3
        assert (await report(tmp_path))["predecessor"] == second
        assert psutil.pid_exists(second)  # through it the first one is stopped
        here.gate.set()
        assert await download.rest() == b"half"
        assert await drained(service) == 0
        await until(lambda: not psutil.pid_exists(second))
        assert (await service.ask()).endswith(b"hi")


async def test_who_asks_in_the_moment_of_the_hand_over_does_no_harm(
    tmp_path: Path, valkey: RedisServer
) -> None:
    """`hipache upgrade` asks again and again while it waits for that moment."""
    path = str(tmp_path / "asked")
    write_config(tmp_path, valkey.url, workers=1, statusSocket=path)
    async with upgradable(tmp_path) as (service, _), around(service, valkey) as here:
        download = await here.get(b"/download")
        await download.until(b"half")
        service.signal(signal.SIGUSR2)
        successor = psutil.Process(int((await service.saw(r"upgrade started. pid=(\d+)"))[1]))
        service.signal(signal.SIGSTOP)  # so that it reads both at once
        await service.saw("worker ready")
        await until(lambda: successor.status() == psutil.STATUS_SLEEPING)  # has said `ready`
        reader, writer = await asyncio.open_unix_connection(path)
        service.signal(signal.SIGCONT)
        assert json.loads(await reader.read())["state"] == "serving"  # the old one or the new one
        writer.close()
        here.gate.set()
        assert await download.rest() == b"half"
        assert await drained(service) == 0


async def test_a_stop_stops_the_old_version_that_drains(
    tmp_path: Path, valkey: RedisServer
) -> None:
    write_config(tmp_path, valkey.url, workers=1, gracefulTimeout=0.3)
    async with upgradable(tmp_path) as (service, _), around(service, valkey) as here:
        waiting = await here.get(b"/download")
        await waiting.until(b"half")
        service.signal(signal.SIGUSR2)
        os.kill(int((await service.saw(TOOK_OVER))[1]), signal.SIGTERM)
        assert await waiting.rest() == b""
        assert await drained(service) == 0
        await until(lambda: not processes(tmp_path))
        assert not (tmp_path / ".hipache/status.sock").exists()


async def test_a_stop_during_an_upgrade_stops_both(tmp_path: Path, valkey: RedisServer) -> None:
    write_config(tmp_path, valkey.url, workers=1)
    async with upgradable(tmp_path) as (service, releases):
        releases.install("9.9.9", workers__serve="import time; time.sleep(100)")
        service.signal(signal.SIGUSR2)
        await service.saw("upgrade started")
        service.signal(signal.SIGTERM)
        await service.saw("upgrade failed.*the service was told to stop")
        assert await service.ended() == 0
        assert processes(tmp_path) == []


async def test_a_new_version_goes_on_alone_if_the_old_one_is_killed(
    tmp_path: Path, valkey: RedisServer
) -> None:
    write_config(tmp_path, valkey.url, workers=1)
    async with upgradable(tmp_path) as (service, _):
        service.signal(signal.SIGUSR2)
        await service.saw("listening address")
        service.signal(signal.SIGKILL)
        pid = int((await service.saw(TOOK_OVER))[1])
        await until(lambda: len(psutil.Process(pid).children()) == 1)
        assert b" 400 " in await service.ask()
        assert (await report(tmp_path))["pid"] == pid


async def test_a_reload_that_came_during_an_upgrade_is_done_after_it(
    tmp_path: Path, valkey: RedisServer
) -> None:
    write_config(tmp_path, valkey.url, workers=1)
    async with upgradable(tmp_path) as (service, releases):
        service.signal(signal.SIGUSR2)
        await service.saw("upgrade started")
        service.signal(signal.SIGHUP)
        await service.saw("reload waits for the upgrade")
        await service.saw(TOOK_OVER)
        await service.saw("worker draining.*why=replaced")
        releases.install("9.9.9", workers__serve="raise SystemExit(9)")
        told = await report(tmp_path)
        os.kill(told["pid"], signal.SIGUSR2)
        await service.saw("upgrade started")
        write_config(tmp_path, valkey.url, workers=2)
        os.kill(told["pid"], signal.SIGHUP)
        await service.saw("upgrade failed.*status 9")
        await service.saw("workers=2 was=1")


async def test_sockets_with_files_go_over_and_are_removed_by_the_last(
    tmp_path: Path, valkey: RedisServer
) -> None:
    kept, left, admin = (tmp_path / name for name in ("kept.sock", "left.sock", "admin.sock"))
    write_config(tmp_path, valkey.url, workers=1, admin={"bind": f"unix:{admin}"})
    change(tmp_path, http={"bind": ["127.0.0.1", f"unix:{kept}", f"unix:{left}"], "port": 0})
    async with upgradable(tmp_path) as (service, _):
        change(tmp_path, http={"bind": [f"unix:{kept}", "127.0.0.1"], "port": 0})
        port = service.port
        service.signal(signal.SIGUSR2)
        await service.saw(f"listening address=127.0.0.1:{port}")
        pid = int((await service.saw(TOOK_OVER))[1])
        assert await drained(service) == 0
        assert not left.exists()
        assert b" 400 " in await service.ask()
        for path, url in ((kept, "http://a.test/"), (admin, "http://localhost/api/")):
            async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as http:
                assert (await http.get(url)).status_code == (400 if path == kept else 200)
        os.kill(pid, signal.SIGTERM)
        await until(lambda: not processes(tmp_path))
        assert not any(path.exists() for path in (kept, admin))


async def test_workers_that_drain_tell_no_metrics(tmp_path: Path, valkey: RedisServer) -> None:
    admin = tmp_path / "admin.sock"
    write_config(tmp_path, valkey.url, workers=1, admin={"bind": f"unix:{admin}"})
    async with upgradable(tmp_path) as (service, _), around(service, valkey) as here:
        waiting = await here.get(b"/download")
        await waiting.until(b"half")
        service.signal(signal.SIGUSR2)
        await service.saw("worker draining.*why=upgraded")
        await until(lambda: len(processes(tmp_path)) == 4)
        transport = httpx.AsyncHTTPTransport(uds=str(admin))
        async with httpx.AsyncClient(transport=transport, headers={"connection": "close"}) as http:
            for _ in range(20):
                told = (await http.get("http://localhost/api/workers")).json()
                assert told[0]["pid"] not in service.workers()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """Where a service notifies systemd; the kernel adds who sent a message."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(20)
        yield sock


def heard(systemd: socket.socket) -> tuple[int, bytes]:
    """The next message, and the pid of its sender."""
    message, extra, _, _ = systemd.recvmsg(200, socket.CMSG_SPACE(12))
    return struct.unpack("3i", extra[0][2])[0], message


async def test_systemd_learns_from_the_old_main_process_which_is_the_new_one(
    tmp_path: Path, valkey: RedisServer, systemd: socket.socket
) -> None:
    write_config(tmp_path, valkey.url, workers=1)
    notify = str(tmp_path / "notify")
    async with upgradable(tmp_path, NOTIFY_SOCKET=notify) as (service, releases):
        assert heard(systemd) == (service.pid, b"READY=1")
        releases.install("9.9.9", workers__serve="raise SystemExit(9)")
        service.signal(signal.SIGUSR2)
        await service.saw("upgrade failed")
        releases.install("9.9.10")
        service.signal(signal.SIGUSR2)
        pid = int((await service.saw(TOOK_OVER))[1])
        assert heard(systemd) == (service.pid, b"MAINPID=%d" % pid)
        assert heard(systemd) == (pid, b"READY=1")
        os.kill(pid, signal.SIGHUP)
        sender, message = heard(systemd)
        assert (sender, message.startswith(b"RELOADING=1")) == (pid, True)
        assert heard(systemd) == (pid, b"READY=1")
        os.kill(pid, signal.SIGTERM)
        assert heard(systemd) == (pid, b"STOPPING=1")


async def test_a_watchdog_goes_over(
    tmp_path: Path, valkey: RedisServer, systemd: socket.socket
) -> None:
    write_config(tmp_path, valkey.url, workers=1)
    start = (
        "import os\nif 'HIPACHE_UPGRADE' not in os.environ:\n"
        "    os.environ['WATCHDOG_PID'] = str(os.getpid())"
    )
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
    async with upgradable(tmp_path, before=start, **environ) as (service, _):
        service.signal(signal.SIGUSR2)
        await service.saw(TOOK_OVER)
        while systemd.recv(200) != b"READY=1":
            pass
        while systemd.recv(200) != b"READY=1":  # the new one's
            pass
        assert systemd.recv(200) == b"WATCHDOG=1"


async def test_sockets_of_systemd_go_over(tmp_path: Path, valkey: RedisServer) -> None:
    write_config(tmp_path, valkey.url, workers=1)
    start = (
        "import os, socket\nif 'HIPACHE_UPGRADE' not in os.environ:\n"
        "    opened = socket.create_server(('127.0.0.1', 0))\n"
        "    os.dup2(opened.detach(), 3)\n"
        "    os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1'}"
    )
    async with upgradable(tmp_path, before=start) as (service, _):
        service.signal(signal.SIGUSR2)
        await service.saw(f"listening address=127.0.0.1:{service.port}")
        await service.saw(TOOK_OVER)
        assert await drained(service) == 0
        assert b" 400 " in await service.ask()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give up")
async def test_what_only_root_may_read_is_named_and_the_old_version_stays(
    tmp_path: Path, valkey: RedisServer
) -> None:
    path = write_config(tmp_path, valkey.url, workers=1)
    change(tmp_path, user="nobody")
    async with upgradable(tmp_path, PYTHONPATH=str(ROOT)) as (service, _):
        path.chmod(0o600)
        service.signal(signal.SIGUSR2)
        # Of the interpreter or of the file, whichever is closed on this machine.
        await service.saw("upgrade failed.*Permission denied; if only root may do that, restart")
        assert b" 400 " in await service.ask()


async def test_a_command_that_cannot_be_replaced_says_so(
    tmp_path: Path, valkey: RedisServer
) -> None:
    """`hipache demo` for one: the program to start would be another demo."""
    write_config(tmp_path, valkey.url, workers=1)
    alone = (
        "import os; from pathlib import Path; from app.config.file import load\n"
        "from app.workers.serve import serve\n"
        "serve(lambda: load(None, os.environ, Path.cwd()), os.environ); raise SystemExit"
    )
    async with upgradable(tmp_path, before=alone):
        status, printed = await hipache(tmp_path, "upgrade")
        assert (status, "this command cannot be replaced" in printed) == (1, True), printed


async def test_upgrade_of_nothing_is_one_line(tmp_path: Path) -> None:
    write_config(tmp_path, "redis:")
    async with command("app.cli", "upgrade", cwd=tmp_path) as asking:
        assert await asking.ended() == 1
        path = tmp_path / ".hipache/status.sock"
        assert asking.log == [f"hipache: {path}: no service runs there\n"]


def test_a_script_is_started_by_its_name_and_a_module_by_its_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "hipache"
    script.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(script), "serve"])
    monkeypatch.setattr(sys, "orig_argv", ["/old/bin/python", str(script), "serve"])
    assert own_program() == [str(script), "serve"]  # its first line may name another one now
    monkeypatch.setattr(sys, "argv", ["/old/app/cli.py", "serve"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "app.cli", "serve"])
    assert own_program() == [sys.executable, "-m", "app.cli", "serve"]


EAGER = """
import os, signal
from app.workers.successor import Successor
signal.signal(signal.SIGTERM, lambda *_: None)  # as a supervisor has a handler
for _ in range(50):
    started = Successor.start(["/bin/sleep", "60"], [], 10.0, gave_up_root=False)
    started.signal(signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(started.pid, 0)[1]) == -signal.SIGTERM
    started.close()
"""


def test_a_stop_between_fork_and_exec_is_not_lost() -> None:
    subprocess.run([sys.executable, "-c", EAGER], cwd=ROOT, check=True, timeout=30)


def test_a_fork_that_fails_leaves_no_signal_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise BlockingIOError("Resource temporarily unavailable")

    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    monkeypatch.setattr(os, "fork", refused)
    with pytest.raises(BlockingIOError):
        Successor.start(["/bin/true"], [], 10.0, gave_up_root=False)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
