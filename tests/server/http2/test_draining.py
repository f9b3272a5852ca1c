"""A drain loses no stream: GOAWAY twice, and a close behind the last answer (RFC 9113 §6.8)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hyperframe.frame import PingFrame

from app.server.edge import ClientLimits
from tests.redis_servers import RedisServer, until
from tests.server.http2.frames import GET, Http2Client, head, speaking
from tests.server.serving import Served, answer, serving
from tests.tls.authority import trusting
from tests.tls.serving import Secured, secured

NO_LAST = 2**31 - 1


class Held:
    """An application whose answers wait until they are released."""

    def __init__(self) -> None:
        self.begun = 0
        self.release = asyncio.Event()

    async def __call__(self, _: Any, receive: Any, send: Any) -> None:
        self.begun += 1
        await self.release.wait()
        await answer(send)


@pytest.fixture
async def app() -> Held:
    return Held()


@pytest.fixture
def limits() -> ClientLimits:
    return ClientLimits(drain_grace=60)


@pytest.fixture
async def client(served: Served) -> AsyncIterator[Http2Client]:
    async with speaking(served.port) as client:
        await client.ponged()
        client.polite = False
        yield client


def drain(served: Served) -> None:
    """As uvicorn does it."""
    for connection in list(served.server.server_state.connections):
        connection.shutdown()


def lasts(client: Http2Client) -> list[int]:
    return [goaway.last_stream_id for goaway in client.goaways]


def acknowledge(client: Http2Client) -> None:
    """The PING that came behind the first GOAWAY."""
    [ping] = [f for f in client.frames if isinstance(f, PingFrame) and "ACK" not in f.flags]
    client.send(PingFrame(0, opaque_data=ping.opaque_data, flags=["ACK"]))


async def test_streams_on_their_way_are_served(
    served: Served, client: Http2Client, app: Held
) -> None:
    client.request(1, GET)
    await client.ponged()
    drain(served)
    await client.until(lambda: lasts(client) == [NO_LAST])
    client.request(3, GET)  # before the client has read it
    acknowledge(client)
    await client.until(lambda: lasts(client) == [NO_LAST, 3])
    client.request(5, GET)  # a client must not; it may send it again elsewhere
    await client.ponged()
    app.release.set()
    assert (await client.answer(1)).body == b"ok"
    assert (await client.answer(3)).body == b"ok"
    assert await client.gone() == 0
    assert (app.begun, client.of(5).ended) == (2, False)


async def test_an_idle_connection_goes_once_the_client_knows(
    served: Served, client: Http2Client
) -> None:
    drain(served)
    await client.until(lambda: lasts(client) == [NO_LAST])
    acknowledge(client)
    assert await client.gone() == 0
    assert lasts(client) == [NO_LAST, 0]


async def test_a_client_that_answers_no_ping_has_the_grace_only(app: Held) -> None:
    async with serving(app, ClientLimits(drain_grace=0.01), ws="none") as served:
        served.edge.prior_knowledge = True
        async with speaking(served.port) as client:
            await client.ponged()
            client.polite = False
            drain(served)
            assert await client.gone() == 0
            assert lasts(client) == [NO_LAST, 0]


async def test_a_connection_that_comes_during_a_drain_is_told_at_once(
    served: Served, app: Held
) -> None:
    served.edge.draining = True
    app.release.set()
    async with speaking(served.port) as client:
        client.request(1, GET)
        assert (await client.answer(1)).body == b"ok"
        assert await client.gone() == 0


async def test_a_connection_ends_after_its_last_request(app: Held) -> None:
    app.release.set()
    async with serving(app, ClientLimits(requests=3), ws="none") as served:
        served.edge.prior_knowledge = True
        async with speaking(served.port) as client:
            for stream in (1, 3, 5):
                client.request(stream, GET)
            for stream in (1, 3, 5):
                assert (await client.answer(stream)).body == b"ok"
            assert await client.gone() == 0


async def test_too_many_connections_are_sent_away(app: Held) -> None:
    async with serving(app, ClientLimits(connections=1), ws="none") as served:
        served.edge.prior_knowledge = True
        async with speaking(served.port) as first:
            await first.ponged()
            reply = await served.talk(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            assert reply.startswith(b"HTTP/1.1 503")


class Load:
    """Clients that ask for ever, each on one connection after the other, as browsers do."""

    def __init__(self, here: Secured) -> None:
        self.here = here
        self.served = self.connections = 0
        self.enough = False
        self.tls = trusting()
        self.tls.set_alpn_protocols(["h2"])

    async def run(self) -> None:
        """One connection after the other until it is enough. Fails if a stream is lost."""
        while not self.enough:
            async with speaking(self.here.port, tls=self.tls) as client:
                self.connections += 1
                await self._ask(client)

    async def _ask(self, client: Http2Client) -> None:
        stream = 1
        while not self.enough and not client.goaways:
            last, batch = stream + 8, range(stream, stream + 10, 2)
            for number in batch:
                client.request(number, head())
            stream = last + 2
            for number in batch:
                try:
                    got = await client.answer(number)
                except EOFError:
                    assert number > client.goaways[-1].last_stream_id  # it was never begun
                    return
                assert (got.status, got.body) == (200, b"hi")
                self.served += 1


@pytest.mark.parametrize("way", [signal.SIGHUP, signal.SIGTERM])
async def test_no_stream_is_lost(tmp_path: Path, valkey: RedisServer, way: signal.Signals) -> None:
    async with secured(tmp_path, valkey) as here:
        load = Load(here)
        loads = [asyncio.create_task(load.run()) for _ in range(4)]
        await _served(load, 200)
        here.service.signal(way)
        if way == signal.SIGHUP:
            await here.service.saw("worker drained")
            await _served(load, 200)
            assert load.connections > 4
        load.enough = True
        done, _ = await asyncio.wait(loads)
        for task in done:
            if way == signal.SIGHUP or not isinstance(task.exception(), OSError):
                task.result()
        if way == signal.SIGTERM:
            assert await here.service.ended() == 0


async def _served(load: Load, more: int) -> None:
    goal = load.served + more
    await until(lambda: load.served >= goal, seconds=30)
