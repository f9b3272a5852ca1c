"""The memory watch: what it sees, whom it tells, and that nobody notices the replacement."""

from __future__ import annotations

import asyncio
import json
import logging
import tracemalloc
from contextlib import suppress
from pathlib import Path
from time import process_time
from typing import Any

import psutil
import pytest

from app.config.memory import MemoryConfig
from app.config.structs import parse
from app.main import create_app
from app.system.memory_watch import GLANCE_EVERY, MIB, Counting, Counts, MemoryWatch
from tests.backends import answer, answering
from tests.processes import command, write_config
from tests.redis_servers import RedisServer
from tests.server.serving import raw
from tests.serving import serving
from tests.workers.site import around

BIG = 1 << 50


def watch(sizes: list[int], asked: list[str] | None = None, **config: Any) -> MemoryWatch:
    """A watch that sees `sizes` (MB) one after the other."""
    values = iter(sizes)
    return MemoryWatch(
        MemoryConfig(**{"limit": 100} | config),
        Counts(),
        None if asked is None else asked.append,
        rss=lambda: next(values) * MIB,
    )


def test_below_the_limit_nothing_is_asked_for() -> None:
    asked: list[str] = []
    watch([99], asked).look()
    assert asked == []


def test_garbage_is_collected_before_anybody_is_asked(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[str] = []
    with caplog.at_level(logging.INFO):
        watch([150, 80], asked).look()
    assert asked == []
    assert "memory freed rss=80MB was=150MB" in caplog.text


def test_over_the_limit_a_successor_is_asked_for_with_a_report(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[str] = []
    watch([150, 120], asked).look()
    assert asked == ["memory"]
    assert "memory over its limit rss=120MB limit=100MB uptime=0min requests=0" in caplog.text


def test_whoever_stays_over_the_limit_asks_once() -> None:
    asked: list[str] = []
    growing = watch([150, 150, 151, 151, 99, 152, 152, 153, 98, 154, 154], asked)
    asked_at = []
    for _ in range(6):
        growing.look()
        asked_at.append(len(asked))
    assert asked_at == [1, 1, 1, 2, 2, 3]  # again when it had been below the limit


def test_alone_it_reports_once_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    lonely = watch([150, 120, 151, 121])
    lonely.look()
    lonely.look()
    assert caplog.text.count("memory over its limit") == 1
    assert "action=none" in caplog.text


async def test_a_limit_of_0_watches_nothing() -> None:
    async with watch([], limit=0) as off:  # it would look at once
        off.glance()


async def test_with_trace_the_largest_sites_are_named(caplog: pytest.LogCaptureFixture) -> None:
    try:
        async with watch([10, 150, 120], trace=True) as tracing:
            kept = bytearray(5 * MIB)
            tracing.look()
    finally:
        tracemalloc.stop()
    assert len(kept) == 5 * MIB
    assert f"memory site={__file__}" in caplog.text


async def test_a_limit_below_a_fresh_worker_recycles_nobody_in_vain(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[str] = []
    async with watch([150, 160], asked) as tight:
        tight.look()
    assert asked == []
    assert "below what a fresh worker needs" in caplog.text


async def test_a_risen_peak_brings_a_look_before_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: asyncio.Queue[str] = asyncio.Queue()
    counts = Counts()
    values = iter([10, 150, 150])
    hasty = MemoryWatch(
        MemoryConfig(limit=1, check_interval=0),
        counts,
        asked.put_nowait,
        rss=lambda: next(values) * MIB // 20,
    )
    monkeypatch.setattr("app.system.memory_watch.LOOKS_APART", 0)

    async def hello(*_: object) -> None: ...

    app = Counting(hello, counts)
    async with hasty:
        for _ in range(GLANCE_EVERY):
            await app({"type": "http"}, hello, hello)
        assert await asyncio.wait_for(asked.get(), 5) == "memory"
    assert counts.requests == GLANCE_EVERY


def test_counting_costs_less_than_a_microsecond() -> None:
    async def hello(*_: object) -> None: ...

    counts, scope, rounds = Counts(), {"type": "http"}, 20_000
    app = Counting(hello, counts)
    quiet = MemoryWatch(MemoryConfig(limit=BIG // MIB), counts)

    async def cost(call: Any) -> float:
        best = float("inf")
        for _ in range(5):
            began = process_time()
            for _ in range(rounds):
                await call(scope, hello, hello)
            best = min(best, process_time() - began)
        return best / rounds

    async def both() -> tuple[float, float]:
        async with quiet:
            return await cost(hello), await cost(app)

    without, counted = asyncio.run(both())
    assert counts.requests == 5 * rounds
    assert counted - without < 1e-6


async def test_a_lone_uvicorn_goes_on_serving(caplog: pytest.LogCaptureFixture) -> None:
    memory = {"limit": 1, "checkInterval": 0.01}
    server = {"accessLog": None, "snapshot": None}
    file = {"memory": memory, "server": server, "admin": {"bind": None}}
    text = json.dumps(file | {"driver": "redis://127.0.0.1:1"})
    async with serving(create_app(parse(text))) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: __ping__\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"ok")
        writer.close()
    assert "below what a fresh worker needs" in caplog.text


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(("tests.leaking", "serve"), id="hipache serve"),
        pytest.param(
            ("uvicorn", "tests.leaking:create_leaking_app", "--factory", "--workers", "2",
             "--port", "0"),
            id="uvicorn --workers",
        ),
    ],
)  # fmt: skip
async def test_a_leaking_worker_is_replaced_while_the_service_goes_on(
    way: tuple[str, ...], tmp_path: Path, valkey: RedisServer
) -> None:
    path = write_config(tmp_path, valkey.url)
    values = json.loads(path.read_text()) | {"memory": {"limit": 130, "checkInterval": 0.1}}
    path.write_text(json.dumps(values))
    async with command(*way, cwd=tmp_path) as service, answering(answer(b"hi")) as backend:
        async with valkey.client as client:
            await client.rpush("frontend:a.test", "id", backend.url)
        if way[0] == "uvicorn":
            await service.bare_ready(2)
        else:
            await service.ready(2)
        before = set(service.workers())
        replaced = asyncio.create_task(service.saw("memory over its limit.*action=recycle"))
        # On one connection, for only our own supervisor sees to it that not all go at once.
        client = await raw(service.port)
        while not replaced.done():
            client.send(b"GET /leak HTTP/1.1\r\nHost: a.test\r\n\r\n")
            _, head, body = await client.response()
            assert body == b"hi"
            if b"connection: close" in head.lower():
                client.reset()
                client = await raw(service.port)
        await replaced
        client.reset()
        await service.saw("worker ended|Application startup complete")
        assert len(before - set(service.workers())) == 1
        for _ in range(10):
            assert (await service.ask()).endswith(b"hi")


async def test_no_more_than_one_worker_drains_for_its_memory(
    tmp_path: Path, valkey: RedisServer
) -> None:
    path = write_config(tmp_path, valkey.url)
    memory = {"limit": 130, "checkInterval": 0.1}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"memory": memory}))
    async with command("tests.leaking", "serve", cwd=tmp_path) as service:
        await service.ready(2)
        async with around(service, valkey) as here:
            while not all(map(serves, service.workers())):
                await (await here.get(b"/download")).until(b"half")
            over: set[str] = set()
            while len(over) < 2:
                told = asyncio.create_task(service.saw(r"worker=(\d).*memory over its limit"))
                while not told.done():
                    assert (await service.ask(target="/leak")).endswith(b"hi")
                over.add((await told)[1])
            here.gate.set()
            for _ in range(2):
                await service.saw("worker ended")
    draining = most = 0
    for line in service.log:
        draining += ("worker draining" in line) - ("worker ended" in line)
        most = max(most, draining)
    assert most == 1


def serves(worker: int) -> bool:
    """Whether a client is connected to it."""
    connections = psutil.Process(worker).net_connections("tcp")
    listening = {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}
    return any(each.raddr and each.laddr.port in listening for each in connections)


async def test_a_lone_uvicorn_ends_where_something_starts_it_again(
    tmp_path: Path, valkey: RedisServer
) -> None:
    path = write_config(tmp_path, valkey.url)
    memory = {"limit": 130, "checkInterval": 0.1, "exitAlone": True}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"memory": memory}))
    alone = ("uvicorn", "tests.leaking:create_leaking_app", "--factory", "--port", "0")
    async with command(*alone, cwd=tmp_path) as service:
        service.port = int((await service.saw(r"running on http://127\.0\.0\.1:(\d+)"))[1])
        async with around(service, valkey) as here:
            download = await here.get(b"/download")
            await download.until(b"half")
            draining = asyncio.create_task(service.saw('worker draining" why=memory'))
            while not draining.done():
                with suppress(OSError):  # it listens no more
                    await service.ask(target="/leak")
            await draining
            here.gate.set()
            assert await download.rest() == b"half"
            assert await service.ended() == 0
    assert sum("worker draining" in line for line in service.log) == 1
