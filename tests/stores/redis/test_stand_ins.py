"""Servers and proxies that are nearly a Redis: they serve reads, but tell no changes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.config.structs import Config, LruCache, ServerConfig
from app.doctor.findings import Commands, Severity
from app.doctor.store import look
from app.stores import CachedStore, open_store
from app.stores.redis import tracking
from tests.redis_servers import RedisServer, until

CLOSES = b""


class StandIn:
    """A TCP proxy before a real server that answers commands with `word` in them by `answer`."""

    def __init__(self, server: RedisServer, word: bytes, answer: bytes) -> None:
        self._server, self._word, self._answer = server, word, answer
        self.honest = False
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._server.port)
        back = asyncio.create_task(self._back(theirs, writer))
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self.honest or self._word not in data.upper():
                    ours.write(data)
                elif self._answer == CLOSES:
                    break
                else:
                    writer.write(self._answer)
        back.cancel()
        for each in (writer, ours):
            each.close()

    async def _back(self, theirs: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await theirs.read(65536):
            writer.write(data)
        writer.close()


@asynccontextmanager
async def before(server: RedisServer, word: bytes, answer: bytes) -> AsyncIterator[StandIn]:
    stand_in = StandIn(server, word, answer)
    listening = await asyncio.start_server(stand_in.serve, "127.0.0.1", 0)
    stand_in.port = listening.sockets[0].getsockname()[1]
    try:
        yield stand_in
    finally:
        listening.close()


@asynccontextmanager
async def routes_of(port: int) -> AsyncIterator[CachedStore]:
    server = ServerConfig(snapshot=None, lru_cache=LruCache(ttl=0.05), store_timeout=2.0)
    store = open_store(Config(driver=(f"redis://127.0.0.1:{port}",), server=server))
    await store.start()
    try:
        yield store
    finally:
        await store.aclose()


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[RedisServer]:
    server = await RedisServer(tmp_path).start()
    yield server
    server.kill()


STAND_INS = [
    pytest.param(b"TRACKING", b"-ERR syntax error\r\n", id="no BCAST"),
    pytest.param(b"TRACKING", b"-ERR Command is not available: 'CLIENT'\r\n", id="not available"),
    pytest.param(b"TRACKING", b"-ERR client tracking is disabled\r\n", id="disabled"),
    pytest.param(b"TRACKING", CLOSES, id="closes on tracking"),
    pytest.param(b"HELLO", CLOSES, id="closes on HELLO"),
    pytest.param(b"HELLO", b"-ERR invalid request\r\n", id="invalid request"),
    pytest.param(b"HELLO", b"-ERR unknown command 'HELLO'\r\n", id="unknown command"),
    pytest.param(b"HELLO", b"-NOAUTH HELLO must be called with AUTH\r\n", id="no password"),
]


@pytest.mark.parametrize(("word", "answer"), STAND_INS)
async def test_a_stand_in_is_served_with_the_ttl_and_that_is_said_once(
    valkey: RedisServer, word: bytes, answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        valkey.client as redis, before(valkey, word, answer) as stand_in,
        routes_of(stand_in.port) as routes,
    ):  # fmt: skip
        await redis.rpush("frontend:a.example", "id", "http://127.0.0.1:1")
        assert (await routes.find("a.example")).frontend.size == 1
        await until(lambda: "does not tell changes" in caplog.text)
        assert not routes.away
        await until(lambda: routes.known("a.example") is None)
        await routes.find("a.example")
        assert routes.known("a.example"), "not believed for the TTL"
        await redis.rpush("frontend:a.example", "http://127.0.0.1:2")
        await until(lambda: routes.known("a.example") is None)
        assert (await routes.find("a.example")).frontend.size == 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_one_that_was_only_full_is_tracked_later(
    valkey: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracking, "ASK_AGAIN", 0.1)
    full = b"-ERR max number of clients reached\r\n"
    async with before(valkey, b"HELLO", full) as stand_in, routes_of(stand_in.port) as routes:
        await until(lambda: "does not tell changes" in caplog.text)
        stand_in.honest = True
        await until(lambda: routes._reads.tracked)
        assert not routes._reads.polled


async def test_a_replica_that_has_lost_its_primary_is_one_line_away_and_one_back(
    own: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with own.client as redis, routes_of(own.port) as routes:
        await redis.rpush("frontend:a.example", "id", "http://127.0.0.1:1")
        await until(lambda: routes._reads.tracked)
        await routes.find("a.example")
        caplog.clear()
        await redis.config_set("replica-serve-stale-data", "no")
        await redis.replicaof("127.0.0.1", "9")
        await until(lambda: routes.away)
        await until(lambda: routes._outage._failures > 4)
        assert (await routes.find("a.example")).frontend.size == 1
        await redis.replicaof("NO", "ONE")
        await until(lambda: routes._reads.tracked)
    assert [record.getMessage().partition(" store=")[0] for record in caplog.records] == [
        "store away", "store back",
    ]  # fmt: skip
    assert "Link with MASTER is down" in caplog.text


async def test_the_doctor_says_that_a_stand_in_does_not_tell_it_enough(own: RedisServer) -> None:
    async with before(own, b"INFO", CLOSES) as stand_in:
        config = Config(driver=(f"redis://127.0.0.1:{stand_in.port}",))
        [found], looked = await look(config, Commands(), timeout=5)
    assert (found.name, found.severity) == ("store-unread", Severity.NOTE)
    assert looked.endswith("(but not its routes)")
