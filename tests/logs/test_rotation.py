"""The access log of a running service under logrotate, and on a disk that fills up."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends import answer, answering
from tests.processes import Service, serve
from tests.redis_servers import RedisServer, until
from tests.serving import proxying

LOGROTATE = shutil.which("logrotate") or shutil.which("logrotate", path="/usr/sbin:/sbin")
FORMAT = "{target} {status} end"


class Rotated:
    """A service, its log, and logrotate's own idea of them."""

    def __init__(self, folder: Path, service: Service) -> None:
        self.log = folder / "log" / "access.log"
        self.service = service
        self._state = folder / "state"
        self._config = folder / "logrotate.conf"

    async def ask(self, first: int, last: int) -> None:
        """These requests, and until their lines are in the file that now has the name."""
        for number in range(first, last):
            assert (await self.service.ask(target=f"/{number}")).startswith(b"HTTP/1.1 200 ")
        wanted = {f"/{number} 200 end" for number in range(first, last)}
        await until(lambda: wanted <= set(self.lines(self.log)))

    def lines(self, path: Path) -> list[str]:
        return path.read_text("ascii").splitlines() if path.exists() else []

    def rotate(self, directives: str) -> None:
        assert LOGROTATE is not None
        self._config.write_text(f"{self.log} {{\nrotate 9\nmissingok\n{directives}\n}}\n")
        self._config.chmod(0o644)
        subprocess.run([LOGROTATE, "-f", "-s", self._state, self._config], check=True)


@pytest.mark.skipif(LOGROTATE is None, reason="logrotate is not installed")
async def test_logrotate_costs_no_line(valkey: RedisServer, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir(mode=0o755)
    log = {"accessLog": str(tmp_path / "log" / "access.log"), "accessLogFormat": FORMAT}
    async with answering(answer(b"hello")) as backend:
        async with valkey.client as client:
            await client.rpush("frontend:a.test", "site", f"http://127.0.0.1:{backend.port}")
        async with serve(tmp_path, valkey.url, 2, **log) as service:
            here = Rotated(tmp_path, service)
            ways = [
                f"create\npostrotate\nkill -USR1 {service.pid}\nendscript",
                "create",  # and we notice by ourselves
                "nocreate",
                "copytruncate",
            ]
            for turn, directives in enumerate(ways):
                await here.ask(10 * turn, 10 * turn + 10)
                await asyncio.to_thread(here.rotate, directives)
            await here.ask(40, 50)
    files = [*(here.log.with_name(f"access.log.{number}") for number in (4, 3, 2, 1)), here.log]
    numbers = [[int(line.split()[0][1:]) for line in here.lines(file)] for file in files]
    assert [sorted(each) for each in numbers] == [
        list(range(10 * turn, 10 * turn + 10)) for turn in range(5)
    ]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("mounting is not permitted")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_disk_costs_lines_and_no_request(
    valkey: RedisServer, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log, filler = small_disk / "access.log", small_disk / "filler"
    server = {"accessLog": str(log), "accessLogFormat": FORMAT}
    async with answering(answer(b"hello")) as backend, proxying(valkey, **server) as proxy:
        await proxy.route("a.test", backend)
        await proxy.get(b"/before")
        await until(lambda: log.exists() and "/before" in log.read_text())
        with pytest.raises(OSError, match="No space left"):
            filler.write_bytes(b"x" * 2**17)
        for _ in range(3):
            assert b"hello" in await proxy.get(b"/" + b"y" * 3000)
        await until(lambda: "access log lost lines=" in caplog.text)
        assert "cause=No space left on device" in caplog.text or "no space left" in caplog.text
        filler.unlink()
        await proxy.get(b"/after")
        await until(lambda: "/after" in log.read_text())
    assert all(line.endswith(" 200 end") for line in log.read_text().splitlines())


async def test_usr1_to_the_supervisor_begins_the_file_anew_without_a_request(
    valkey: RedisServer, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    async with serve(tmp_path, valkey.url, 2, accessLog=str(log)) as service:
        log.rename(tmp_path / "access.log.1")
        service.signal(signal.SIGUSR1)
        await until(log.exists)
