"""The embedded server: there while somebody uses it, gone when nobody does, its data kept."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from app.config.structs import Config
from app.errors import ConfigError, StoreUnavailable
from app.stores import driver_of, open_store
from app.stores.embedded import keeper
from app.stores.embedded import store as embedded
from app.stores.embedded.store import EmbeddedServer
from tests.redis_servers import until


def servers(directory: Path) -> set[tuple[str, int]]:
    """Name and pid of the keeper and the server of this folder."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(directory):
                found.add(("server", process.pid))
            elif keeper.__file__ in process.cmdline() and str(directory) in process.cmdline():
                found.add(("keeper", process.pid))
    return found


@pytest.fixture
async def folder(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "state"
    yield directory
    for _, pid in servers(directory):
        os.kill(pid, signal.SIGKILL)


async def test_the_server_ends_with_its_last_user(folder):
    with EmbeddedServer(str(folder)) as one:
        assert len(servers(folder)) == 2
        with EmbeddedServer(str(folder)):
            assert len(servers(folder)) == 2
        assert redis.Redis(unix_socket_path=str(one.socket)).ping()
    await until(lambda: not servers(folder))


async def test_data_is_kept_across_restarts(folder):
    with EmbeddedServer(str(folder)) as server:
        redis.Redis(unix_socket_path=str(server.socket)).rpush("frontend:a", "id", "http://b")
    await until(lambda: not servers(folder))
    with EmbeddedServer(str(folder)) as server:
        client = redis.Redis(unix_socket_path=str(server.socket))
        assert client.lrange("frontend:a", 0, -1) == [b"id", b"http://b"]


@pytest.fixture
def user(folder: Path) -> Iterator[subprocess.Popen]:
    """Another process that uses the server."""
    code = (
        "import sys; from app.stores.embedded.store import EmbeddedServer\n"
        "EmbeddedServer(sys.argv[1]).acquire(); print('up', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"up\n"
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_no_server_is_left_however_its_user_ends(folder, user, number):
    assert len(servers(folder)) == 2
    user.send_signal(number)
    await until(lambda: not servers(folder))


async def test_the_server_outlives_the_process_that_started_it(folder, user):
    with EmbeddedServer(str(folder)) as server:
        before = servers(folder)
        user.kill()
        user.wait()
        assert redis.Redis(unix_socket_path=str(server.socket)).ping()
        assert servers(folder) == before


@pytest.mark.parametrize("victim", ["keeper", "server"])
async def test_a_killed_server_or_keeper_comes_back(folder, victim):
    store = open_store(Config(driver=(f"embedded:{folder}",)))
    await store.start()
    try:
        os.kill(dict(servers(folder))[victim], signal.SIGKILL)
        await until(lambda: store.away or not store._reads.tracked)
        await until(lambda: store._reads.tracked and len(servers(folder)) == 2)
    finally:
        await store.aclose()


async def test_a_path_too_long_for_a_socket_is_worked_around(tmp_path, monkeypatch):
    folder = tmp_path / ("long" * 25)
    with tempfile.TemporaryDirectory() as runtime:  # tmp_path may be too long itself
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        with EmbeddedServer(str(folder)) as server:
            assert len(os.fsencode(server.socket)) < 104
            assert oct(server.socket.parent.stat().st_mode & 0o777) == "0o700"
            assert redis.Redis(unix_socket_path=str(server.socket)).ping()
        await until(lambda: not servers(folder))


async def test_hold_keeps_the_server_for_workers_to_come(folder):
    with driver_of(Config(driver=(f"embedded:{folder}",))).hold():
        assert len(servers(folder)) == 2
    await until(lambda: not servers(folder))


def test_without_any_server_the_message_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"hipache\[embedded\], valkey-server or redis-server"):
        EmbeddedServer(str(tmp_path))


def test_a_server_on_path_is_the_fallback(monkeypatch, tmp_path):
    (tmp_path / "redis-server").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    assert embedded.find_server() == str(tmp_path / "redis-server")


def test_a_folder_that_can_not_be_made_is_an_outage(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable):
        EmbeddedServer(str(tmp_path / "file" / "state")).acquire()
