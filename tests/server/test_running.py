"""A bare uvicorn, configured from inside; and how a worker drains."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
import uvicorn

from app.server.edge import ClientLimits, Edge
from app.server.running import configure, running_server
from tests.server.serving import Recorder, answer, raw, serving, undated

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Configuring(Recorder):
    """Configures the server that runs it, as our application does in its lifespan."""

    edge = Edge(ClientLimits(drain_grace=0.001))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            return await super().__call__(scope, receive, send)
        await receive()
        self.server = configure(self.edge)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return None


async def test_a_bare_uvicorn_gets_our_protocol_and_adds_nothing() -> None:
    app = Configuring()
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    ready = asyncio.Event()
    server._log_started_message = lambda listeners: ready.set()  # type: ignore[method-assign]
    task = asyncio.create_task(server.serve())
    await ready.wait()
    port = server.servers[0].sockets[0].getsockname()[1]
    client = await raw(port)
    client.send(GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n"))
    _, head, _ = await client.response()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    refused = await client.rest()
    client.reset()
    server.should_exit = True
    await task
    assert app.server is server
    plain = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\n"
    assert undated(head) == plain
    assert app.scopes[0]["client"][0] == "127.0.0.1"
    assert refused.startswith(b"HTTP/1.1 400 ")


def test_another_server_gets_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert running_server() is None
    assert configure(Edge()) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_a_drain_answers_what_is_just_arriving() -> None:
    async with serving(Recorder(), ClientLimits(drain_grace=30)) as served:
        idle = await served.connect()
        idle.send(GET)
        await idle.response()
        for connection in list(served.server.server_state.connections):
            connection.shutdown()
        idle.send(GET)
        _, head, _ = await idle.response()
        assert b"\r\nconnection: close\r\n" in head
        assert await idle.rest() == b""


async def test_a_drain_closes_the_idle_after_its_grace() -> None:
    async with serving(Recorder(), ClientLimits(drain_grace=0.001)) as served:
        idle = await served.connect()
        idle.send(GET)
        await idle.response()
        stopping = asyncio.create_task(served.server.shutdown())
        assert await idle.rest() == b""
        await stopping


async def test_a_drain_lets_a_running_request_finish() -> None:
    running, finish = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        running.set()
        await finish.wait()
        await answer(send, b"whole")

    async with serving(app) as served:
        client = await served.connect()
        client.send(GET)
        await running.wait()
        for connection in list(served.server.server_state.connections):
            connection.shutdown()
        finish.set()
        got = await client.rest()
    assert b"\r\nconnection: close\r\n" in got
    assert got.endswith(b"whole")


async def test_a_connection_accepted_during_the_drain_does_not_hold_it_up() -> None:
    async with serving(Recorder(), ClientLimits(drain_grace=0.001)) as served:
        served.edge.draining = True
        assert await served.talk(b"") == b""
