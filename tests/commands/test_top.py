"""`hipache top` and `hipache explain` beside a proxy that runs."""

from __future__ import annotations

import asyncio
import doctest
import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from app.commands import throughput
from app.commands.throughput import rates
from app.metrics.quantiles import quantile
from tests.admin.serving import REQUESTS
from tests.admin_client import AdminClient
from tests.backends import answer, answering, refusing, silent
from tests.ports import free_port
from tests.processes import ROOT, Service, command, write_config
from tests.redis_servers import RedisServer


async def hipache(folder: Path, *words: str) -> tuple[str, int]:
    """What the command says on a terminal of 120 columns, and its status."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.cli", *words, cwd=folder,
        env={"PYTHONPATH": str(ROOT), "COLUMNS": "120"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    return said.decode(), process.returncode or 0


async def started(service: Service, workers: int) -> Service:
    await service.ready(workers)
    return service


async def test_top_shows_one_screen(tmp_path: Path, valkey: RedisServer) -> None:
    address = f"127.0.0.1:{free_port()}"
    write_config(tmp_path, valkey.url, 1, admin={"bind": address})
    async with (
        command("app.cli", "serve", cwd=tmp_path) as service,
        answering(answer(b"hi")) as backend,
        refusing() as dead,
        valkey.client as client,
    ):
        await started(service, 1)
        await client.rpush("frontend:[hot].test", "id", backend.url)
        await client.rpush("frontend:a.test", "id", backend.url, dead)
        admin = AdminClient(address)
        async with admin.http:
            for _ in range(20):
                await service.ask("a.test")
            await admin.until(REQUESTS, 20)
        asking = asyncio.create_task(hipache(tmp_path, "top", "--once", "--interval", "2"))
        while not asking.done():
            await service.ask("a.test")
        said, status = await asking
        assert status == 0
        told, _ = await hipache(tmp_path, "top", "--once", "--json", "--interval", "0.2")
        found = json.loads(told)
        [each] = [f for f in found["frontends"] if f["frontend"] == "a.test"]
        assert (each["per_second"], each["p99"]) == (0.0, None)
        assert {b["backend"]: b["state"] for b in found["backends"]}[dead] == "dead"
        summary, head, worker, *_ = said.splitlines()
        assert summary.startswith("hipache")
        assert float(summary.split()[1]) > 0
        assert head.split()[:2] == ["WORKER", "pid"]
        assert worker.split()[:3] == ["1", str(service.workers()[0]), "serving"]
        [live] = [line for line in said.splitlines() if backend.url in line]
        assert live.split()[:3] == ["a.test", backend.url, "live"]
        assert float(live.split()[3]) > 0
        [marked] = [line for line in said.splitlines() if dead in line]
        assert marked.split()[2] == "dead"
        told, _ = await hipache(
            tmp_path, "top", "--once", "--json", "--interval", "0.1", "--filter", "HOT"
        )
        found = json.loads(told)
        assert found["frontends"] == found["backends"] == []
        await asyncio.to_thread(quit_by_key, tmp_path)


def quit_by_key(folder: Path) -> None:
    """On a terminal of 80 x 24: it takes the keys, and leaves the terminal as it was."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(theirs)
    words = (sys.executable, "-m", "app.cli", "top", "--interval", "0.1")
    environ = {"PYTHONPATH": str(ROOT), "TERM": "xterm"}
    asking = subprocess.Popen(
        words, cwd=folder, env=environ, stdin=theirs, stdout=theirs, stderr=theirs
    )
    seen = b""
    for wanted, key in ((b"q quit", b"s/zzz"), (b"filter: zzz_", b"\rq")):
        while wanted not in seen:
            seen += os.read(ours, 65536)
        os.write(ours, key)
    while b"\x1b[?1049l" not in seen:  # the end of the screen
        seen += os.read(ours, 65536)
    assert asking.wait(60) == 0
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


async def test_explain_knows_what_is_in_flight(tmp_path: Path, valkey: RedisServer) -> None:
    address = f"127.0.0.1:{free_port()}"
    write_config(tmp_path, valkey.url, 2, admin={"bind": address})
    async with (
        command("app.cli", "serve", cwd=tmp_path) as service,
        silent() as backend,
        valkey.client as client,
    ):
        await started(service, 2)
        await client.rpush("frontend:a.test", "id", backend.url)
        said, _ = await hipache(tmp_path, "explain", "a.test")
        assert "in flight 0" in said
        waiting = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(3)]
        for _, writer in waiting:
            writer.write(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        admin = AdminClient(address)
        async with admin.http:
            await admin.until("hipache_requests_in_flight", 3)
        said, _ = await hipache(tmp_path, "explain", "a.test")
        assert "in flight 3" in said
        for _, writer in waiting:
            writer.close()
            await writer.wait_closed()


async def test_nobody_to_ask_is_one_line(tmp_path: Path, valkey: RedisServer) -> None:
    write_config(tmp_path, valkey.url)
    assert await hipache(tmp_path, "top", "--once") == (
        "hipache: admin.bind is null: the proxy has no admin listener\n", 1,
    )  # fmt: skip
    write_config(tmp_path, valkey.url, admin={"bind": f"127.0.0.1:{free_port()}"})
    said, status = await hipache(tmp_path, "top", "--once")
    assert (said.count("\n"), status) == (1, 1)
    assert "no answer" in said


async def test_the_proxy_of_other_routes_is_not_asked(tmp_path: Path, valkey: RedisServer) -> None:
    address = f"127.0.0.1:{free_port()}"
    write_config(tmp_path, valkey.url, 1, admin={"bind": address})
    async with command("app.cli", "serve", cwd=tmp_path) as service:
        await started(service, 1)
        write_config(tmp_path, "redis://10.0.0.1", admin={"bind": address})
        said, status = await hipache(tmp_path, "top", "--once")
        assert (said, status) == (
            f"hipache: {address}: a proxy with other routes answers there\n",
            1,
        )


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(throughput).failed == 0


@pytest.mark.parametrize(
    ("share", "buckets", "expected"),
    [
        (0.5, [0, 0, 0], None),
        (0.5, [4, 0, 0], 0.5),
        (0.99, [0, 0, 4], float("inf")),
        (0.5, [1, 1, 0], 1.0),
        (0.75, [2, 2, 0], 1.5),
    ],
)
def test_a_quantile_is_found_within_its_bucket(share, buckets, expected):
    assert quantile(share, buckets, [1.0, 2.0]) == expected


def test_who_is_new_counts_from_zero_and_nothing_is_negative():
    def each(name, *counts):
        return {
            "frontend": name,
            "requests": {"5xx read": counts[0], "2xx read": 9},
            "duration": {"bounds": [1.0], "counts": list(counts)},
        }

    before, after = [each("a", 5, 5), each("b", 9, 9)], [each("a", 9, 7), each("c", 4, 4)]
    found = rates(before, after, "frontend", "duration", seconds=2.0)
    assert [(r.now["frontend"], r.per_second, r.errors_per_second) for r in found] == [
        ("c", 4.0, 2.0), ("a", 3.0, 2.0),
    ]  # fmt: skip
