"""A worker with more to do than it can: who is turned away, and who notices nothing."""

from __future__ import annotations

import asyncio
import doctest
import logging
from time import perf_counter

import pytest

from app.proxy.guards import shedding
from app.proxy.guards.overload import LOG_EVERY, Overload
from app.proxy.guards.shedding import Shedding
from tests.backends import answer, answering
from tests.redis_servers import RedisServer
from tests.server.serving import Recorder
from tests.server.serving import serving as serving_edge
from tests.serving import proxying


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(shedding).failed == 0


def test_one_long_stall_turns_nobody_away() -> None:
    shed = Shedding(0.5)
    for late in (3.0, 0.01, 2.0, 1.0, 1.0, 0.01, 3.0):
        shed.look(late)
        assert not shed.active


def test_without_a_limit_nobody_is_turned_away() -> None:
    shed = Shedding(0)
    for _ in range(100):
        shed.look(1e6)
    assert not shed.active


def day(shed: Shedding, load: dict[str, int], looks: int, *, capacity: int, backlog: int) -> int:
    """A worker that answers `capacity` requests between two looks of 50 ms; what is left over."""
    for _ in range(looks):
        for key, count in load.items():
            backlog += sum(not shed.active or shed.admits(key) for _ in range(count))
        backlog = max(0, backlog - capacity)
        shed.look(0.05 * backlog / capacity)
    return backlog


def test_the_noisy_one_is_turned_away_and_the_others_are_not() -> None:
    shed = Shedding(0.5)
    backlog = day(shed, {"noisy": 300, "a": 10, "b": 20}, 20, capacity=100, backlog=0)
    served = {"noisy": 0, "a": 0, "b": 0}
    backlogs = []
    for _ in range(100):
        for key, count in {"noisy": 300, "a": 10, "b": 20}.items():
            admitted = sum(not shed.active or shed.admits(key) for _ in range(count))
            served[key] += admitted
            backlog += admitted
        backlog = max(0, backlog - 100)
        backlogs.append(backlog)
        shed.look(0.05 * backlog / 100)
    assert served["a"] == 1000
    assert served["b"] == 2000
    assert served["noisy"] < 15_000
    assert max(backlogs[50:]) < 3000  # 1.5 s of work, where 23,000 would have gathered
    day(shed, {"noisy": 30, "a": 10}, 200, capacity=100, backlog=backlog)
    assert not shed.active


def test_one_frontend_alone_shares_with_nobody_and_is_still_served() -> None:
    shed = Shedding(0.5)
    day(shed, {"only": 300}, 100, capacity=100, backlog=0)
    before = shed.turned_away
    backlog = day(shed, {"only": 300}, 100, capacity=100, backlog=1000)
    assert backlog < 3000
    assert 0 < shed.turned_away - before < 300 * 100


def test_the_log_says_it_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "app.proxy.guards.overload")
    now = 0.0
    overload = Overload(0.5, lambda: now)
    for _ in range(100):
        overload.look(1.0)
    assert len(caplog.records) == 1
    now = LOG_EVERY
    overload.look(1.0)
    assert len(caplog.records) == 2


async def test_a_late_loop_turns_away_and_recovers(valkey: RedisServer) -> None:
    busy = True

    def hog() -> None:
        until = perf_counter() + 0.03
        while perf_counter() < until:
            pass
        if busy:
            asyncio.get_running_loop().call_later(0.001, hog)

    async with (
        answering(answer(b"hello")) as backend,
        proxying(valkey, maxLoopLag=0.01, keepAliveTimeout=0) as proxy,
    ):
        await proxy.route("a.test", backend)
        client = await proxy.connect()

        async def ask(host: bytes = b"a.test") -> tuple[int, bytes]:
            client.send(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
            return (await client.response())[:2]

        assert (await ask())[0] == 200
        hog()
        while (reply := await ask())[0] == 200:
            pass
        assert reply[0] == 503
        assert b"\r\nretry-after: 1\r\n" in reply[1]
        assert (await ask(b"__ping__"))[0] == 200
        busy = False
        in_a_row = 0
        while in_a_row < 50:
            in_a_row = in_a_row + 1 if (await ask())[0] == 200 else 0


async def test_more_connections_are_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    from app.server.edge import MINUTE, ClientLimits

    caplog.set_level(logging.WARNING, "app.server.edge")
    async with serving_edge(Recorder(), ClientLimits(connections=1), sweep=60) as served:
        first = await served.connect()
        first.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await first.response()
        for later, lines in ((0.0, 1), (0.0, 1), (MINUTE, 2), (0.0, 2)):
            served.edge.now += later
            assert (await served.talk(b"")).startswith(b"HTTP/1.1 503 ")
            assert len(caplog.records) == lines
