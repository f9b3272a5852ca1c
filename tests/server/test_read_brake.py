"""What one turn of the loop may bring of bodies, before the requests have a say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

from app.server.edge import Edge
from app.server.exchange import Exchange
from app.server.http2.http2_protocol import Http2Protocol
from app.server.http_protocol import HttpProtocol
from tests.server.http2.frames import GET, POST, data, speaking
from tests.server.serving import answer, read_body, serving

PART = bytes(16_000)
BODY = PART * 3
UPLOAD = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
UPLOADS = 20
MOST = 3 * len(BODY)


class Unheard:
    """An application that looks, whenever it is called, at what has come for all requests."""

    def __init__(self) -> None:
        self.edge: Edge | None = None
        self.most = 0
        self.bodies = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.most = max(self.most, sum(max(0, each.unread) for each in self._exchanges()))
        self.bodies += await read_body(receive) == BODY
        await answer(send)

    def _exchanges(self) -> Iterator[Exchange]:
        assert self.edge is not None
        for connection in self.edge.connections:
            if isinstance(connection, Http2Protocol):
                yield from (stream.exchange for stream in connection.streams.values())
            elif isinstance(connection, HttpProtocol) and connection.exchange is not None:
                yield connection.exchange


async def test_bodies_over_http1_are_not_all_read_before_a_request_runs() -> None:
    app = Unheard()
    async with serving(app) as served:
        app.edge, served.edge.uploads.most = served.edge, MOST
        clients = [await served.connect() for _ in range(UPLOADS)]
        for client in clients:  # all are accepted then, and what follows arrives at once
            client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            await client.response()
        for client in clients:
            client.send(UPLOAD)
        for client in clients:
            assert (await client.response())[0] == 200
    assert app.bodies == UPLOADS
    assert 0 < app.most <= MOST + len(BODY)


async def test_bodies_over_http2_are_not_all_read_before_a_request_runs() -> None:
    app = Unheard()
    async with serving(app, ws="none") as served, AsyncExitStack() as stack:
        served.edge.prior_knowledge = True
        app.edge, served.edge.uploads.most = served.edge, MOST
        clients = [await stack.enter_async_context(speaking(served.port)) for _ in range(UPLOADS)]
        for client in clients:
            client.request(1, GET)
            await client.answer(1)
        for client in clients:
            client.send(
                client.headers(3, POST), data(3, PART), data(3, PART), data(3, PART, end=True)
            )
        for client in clients:
            assert (await client.answer(3)).status == 200
    assert app.bodies == UPLOADS
    assert 0 < app.most <= MOST + len(BODY)
