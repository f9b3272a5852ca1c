"""What people and systemd are told about a running service."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import ConfigError
from app.workers.sockets import ServiceSockets
from app.workers.status import StatusSocket, as_table, ask
from app.workers.systemd import Notifier
from tests.processes import ROOT, command, program, serve, status, write_config
from tests.redis_servers import RedisServer


async def test_status_shows_every_worker(tmp_path: Path, valkey: RedisServer) -> None:
    async with serve(tmp_path, valkey.url) as service:
        await service.ask()
        code, text = await status(tmp_path, "--json")
        report = json.loads(text)
        assert (code, report["state"], report["pid"]) == (0, "serving", service.pid)
        assert [each["worker"] for each in report["workers"]] == [1, 2]
        assert {each["pid"] for each in report["workers"]} == set(service.workers())
        for each in report["workers"]:
            assert each["state"] == "serving"
            assert {"age", "rss", "requests", "in_flight", "connections"} <= each.keys()
        code, text = await status(tmp_path)
        assert text.startswith(f"serving pid={service.pid} workers=2\n")
        assert len(text.splitlines()) == 4


async def test_status_and_doctor_find_the_service_from_every_folder(
    tmp_path: Path, valkey: RedisServer
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with serve(tmp_path, valkey.url, workers=1) as service:
        code, text = await status(elsewhere, "--json", "--config", str(tmp_path / "config.json"))
        assert (code, json.loads(text)["pid"]) == (0, service.pid)
        asked = ("app.cli", "doctor", "--json", "--config", "../config.json")
        environ = os.environ | {"PYTHONPATH": str(ROOT)}
        words = (sys.executable, "-m", *asked)
        async with program(*words, cwd=elsewhere, environ=environ, stdout=True) as asking:
            assert asking.process.stdout is not None
            report = json.loads(await asking.process.stdout.read())
            await asking.ended()
        assert f"the service that runs here (pid {service.pid})" in report["looked_at"]
        assert [each for each in report["findings"] if each["severity"] == "error"] == []


async def test_the_status_socket_is_no_backend(tmp_path: Path, valkey: RedisServer) -> None:
    async with serve(tmp_path, valkey.url, workers=1) as service, valkey.client as client:
        await client.rpush("frontend:a.test", "id", f"unix:{tmp_path}/.hipache/status.sock")
        assert (await service.ask()).startswith(b"HTTP/1.1 508 ")


async def test_the_socket_is_private_and_goes_with_the_service(
    tmp_path: Path, valkey: RedisServer
) -> None:
    path = tmp_path / ".hipache/status.sock"
    async with serve(tmp_path, valkey.url, workers=1) as service:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
    assert not path.exists()


async def test_status_of_nothing_is_one_line(tmp_path: Path) -> None:
    write_config(tmp_path, "redis:")
    async with command("app.cli", "status", cwd=tmp_path) as asking:
        assert await asking.ended() == 1
        path = tmp_path / ".hipache/status.sock"
        assert asking.log == [f"hipache: {path}: no service runs there\n"]


async def test_without_a_folder_for_it_the_service_runs_all_the_same(
    tmp_path: Path, valkey: RedisServer
) -> None:
    (tmp_path / ".hipache").write_text("a file")
    write_config(tmp_path, valkey.url, 1)
    async with command("app.cli", "serve", cwd=tmp_path) as service:
        await service.saw(f"no status socket. path={tmp_path}/.hipache/status.sock")
        await service.saw("worker ready")


def test_a_dead_socket_is_taken_over_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = str(tmp_path / "status.sock")
    first = StatusSocket.open(path, ServiceSockets())
    assert first is not None
    assert StatusSocket.open(path, ServiceSockets()) is None
    first.sock.close()
    with pytest.raises(ConfigError, match="no service runs there"):
        ask(path)
    second = StatusSocket.open(path, ServiceSockets())
    assert second is not None
    second.close()


def test_the_table_tells_worker_by_worker() -> None:
    worker = {
        "worker": 1, "pid": 4711, "state": "draining", "age": 300.0, "rss": 50 << 20,
        "requests": 12, "in_flight": 3, "connections": 4,
    }  # fmt: skip
    table = as_table({"state": "serving", "pid": 1, "workers": [worker]})
    assert table.splitlines()[-1].split() == [
        "1", "4711", "draining", "5m", "50", "MB", "12", "3", "4",
    ]  # fmt: skip


@pytest.fixture
def systemd(tmp_path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(tmp_path / "notify"))
    sock.settimeout(20)
    return sock


async def test_systemd_learns_when_it_is_ready_and_when_it_stops(
    tmp_path: Path, valkey: RedisServer, systemd: socket.socket
) -> None:
    write_config(tmp_path, valkey.url)
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
    async with command("app.cli", "serve", cwd=tmp_path, **environ) as service:
        await service.ready(2)
        while (message := systemd.recv(200)) != b"READY=1":
            assert message == b"WATCHDOG=1"
        service.signal(signal.SIGHUP)
        while not (message := systemd.recv(200)).startswith(b"RELOADING=1\nMONOTONIC_USEC="):
            assert message == b"WATCHDOG=1"
        while (message := systemd.recv(200)) != b"READY=1":
            assert message == b"WATCHDOG=1"
        service.signal(signal.SIGTERM)
        while (message := systemd.recv(200)) != b"STOPPING=1":
            assert message == b"WATCHDOG=1"
        assert await service.ended() == 0
    systemd.close()


def test_the_watchdog_hears_twice_in_its_time(tmp_path: Path, systemd: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000000"}
    notifier = Notifier(environ)
    for now in (100.0, 105.0, 109.9, 110.0, 115.0, 120.0):
        notifier.alive(now)
    systemd.setblocking(False)
    heard = [systemd.recv(99) for _ in range(3)]
    assert heard == [b"WATCHDOG=1"] * 3
    with pytest.raises(BlockingIOError):
        systemd.recv(99)
    systemd.close()


def test_a_successor_is_alive_as_soon_as_it_takes_over(
    tmp_path: Path, systemd: socket.socket
) -> None:
    """What it said before was not heard, and its predecessor's last word may be old."""
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000000"}
    notifier = Notifier(environ, main=False)
    notifier.alive(100.0)
    notifier.take_over()
    notifier.alive(100.1)
    systemd.setblocking(False)
    assert systemd.recv(99) == b"WATCHDOG=1"
    systemd.close()


def test_without_systemd_nothing_is_told() -> None:
    Notifier({}).ready()


def test_the_unit_file_runs_a_command_that_there_is() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[method-assign,assignment]
    unit.read(ROOT / "packaging/hipache.service")
    assert unit["Service"]["ExecStart"].endswith("/hipache serve")
    assert unit["Service"]["Type"] == "notify"  # notify-reload needs systemd 253
    assert unit["Service"]["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert unit["Service"]["RestartPreventExitStatus"] == "78"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    for name in ("hipache.service", "hipache.socket"):
        text = (ROOT / "packaging" / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/hipache/bin/hipache", "/bin/true"))
    units = [str(tmp_path / "hipache.service"), str(tmp_path / "hipache.socket")]
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
