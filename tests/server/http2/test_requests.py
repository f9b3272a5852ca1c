"""Requests over HTTP/2 as an application gets them, and its answers as a client does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.server.http2.frames import GET, POST, Http2Client, data, head, speaking
from tests.server.serving import Recorder, Served, answer, read_body, serving

LENGTH = b"content-length"


async def test_a_request_and_its_answer(client: Http2Client, recorder: Recorder) -> None:
    client.request(1, [*head(path=b"/a?"), (b"x-a", b"1"), (b"x-a", b"2")])
    got = await client.answer(1)
    assert (got.status, got.body, got.get(b"content-type")) == (200, b"ok", b"text/plain")
    assert got.get(b"date") is not None
    [scope] = recorder.scopes
    assert scope["http_version"] == "2"
    assert scope["extensions"]["hipache.target"] == b"/a?"
    assert scope["headers"] == [(b"host", b"a.test"), (b"x-a", b"1"), (b"x-a", b"2")]


async def test_many_at_once(client: Http2Client, recorder: Recorder) -> None:
    for stream in range(1, 200, 2):
        client.request(stream, GET)
    assert {(await client.answer(stream)).body for stream in range(1, 200, 2)} == {b"ok"}
    assert len(recorder.scopes) == 100


async def test_a_body_with_a_length(client: Http2Client, recorder: Recorder) -> None:
    client.request(1, [*POST, (LENGTH, b"5")], b"hello")
    assert (await client.answer(1)).status == 200
    assert recorder.bodies == [b"hello"]


async def test_a_body_without_a_length_is_chunked_further_on(
    client: Http2Client, recorder: Recorder
) -> None:
    client.send(client.headers(1, POST), data(1, b"hel"), data(1, b"lo"), data(1, end=True))
    assert (await client.answer(1)).status == 200
    assert recorder.bodies == [b"hello"]
    assert (b"transfer-encoding", b"chunked") in recorder.scopes[0]["headers"]


async def test_trailers_end_a_body(client: Http2Client, recorder: Recorder) -> None:
    client.send(client.headers(1, POST), data(1, b"hello"))
    client.send(client.headers(1, [(b"x-sum", b"1")], "END_STREAM"))
    assert (await client.answer(1)).status == 200
    assert recorder.bodies == [b"hello"]


async def test_head_has_no_body(client: Http2Client) -> None:
    client.request(1, head(b"HEAD"))
    got = await client.answer(1)
    assert (got.status, got.get(LENGTH), got.body, got.reset) == (200, b"2", b"", None)


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body(status: int) -> None:
    async def app(_: Any, receive: Any, send: Any) -> None:
        await answer(send, b"", status=status, headers=[])

    async with serving(app, ws="none") as served:
        served.edge.prior_knowledge = True
        async with speaking(served.port) as client:
            client.request(1, GET)
            got = await client.answer(1)
            assert (got.status, got.body, got.ended) == (status, b"", True)


async def test_cookie_crumbs_are_joined(client: Http2Client, recorder: Recorder) -> None:
    client.request(1, [*GET, (b"cookie", b"a=1"), (b"x-a", b"1"), (b"cookie", b"b=2")])
    await client.answer(1)
    assert recorder.scopes[0]["headers"][1:] == [(b"cookie", b"a=1; b=2"), (b"x-a", b"1")]


async def test_expect_is_answered_once_the_body_is_wanted() -> None:
    async def app(_: Any, receive: Any, send: Any) -> None:
        await answer(send, await read_body(receive))

    async with serving(app, ws="none") as served:
        served.edge.prior_knowledge = True
        async with speaking(served.port) as client:
            client.send(client.headers(1, [*POST, (b"expect", b"100-continue")]))
            await client.until(lambda: client.of(1).interim == [100])
            client.send(data(1, b"hello", end=True))
            assert (await client.answer(1)).body == b"hello"


async def test_fields_of_a_connection_stay_behind() -> None:
    async def app(_: Any, receive: Any, send: Any) -> None:
        fields = [(b"Connection", b"close"), (b"Keep-Alive", b"5"), (b"X-A", b"1")]
        await answer(send, headers=[*fields, (b"transfer-encoding", b"chunked")])

    async with serving(app, ws="none") as served:
        served.edge.prior_knowledge = True
        async with speaking(served.port) as client:
            client.request(1, GET)
            got = await client.answer(1)
            names = [name for name, _ in got.fields]
            assert names == [b":status", b"x-a", b"date"]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([(b"x-a", b"1\r\nx-b: 2")], id="an end of line"),
        pytest.param([(b"x-a", b"1\0")], id="NUL"),
        pytest.param([(b":path", b"/")], id="a pseudo-field"),
        pytest.param([(b"x a", b"1")], id="a space in a name"),
        pytest.param([(LENGTH, b"1"), (LENGTH, b"1")], id="two lengths"),
    ],
)
async def test_a_head_that_cannot_be_sent_is_our_error(fields: Any) -> None:
    async def app(_: Any, receive: Any, send: Any) -> None:
        await answer(send, b"o", headers=fields)

    async with serving(app, ws="none") as served:
        served.edge.prior_knowledge = True
        async with speaking(served.port) as client:
            client.request(1, GET)
            assert (await client.answer(1)).status == 500
            client.request(3, GET)
            assert (await client.answer(3)).status == 500


async def test_an_answer_that_breaks_off_is_reset() -> None:
    async def app(_: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    async with serving(app, ws="none") as served:
        served.edge.prior_knowledge = True
        async with speaking(served.port) as client:
            client.request(1, GET)
            got = await client.answer(1)
            assert (got.status, got.body, got.ended, got.reset) == (200, b"half", False, 2)


async def test_a_client_that_resets_is_gone_at_once() -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    async def app(_: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.request"
        begun.set()
        assert (await receive())["type"] == "http.disconnect"
        gone.set()

    async with serving(app, ws="none") as served:
        served.edge.prior_knowledge = True
        async with speaking(served.port) as client:
            client.request(1, GET)
            await begun.wait()
            client.reset(1)
            await gone.wait()


async def test_http1_and_its_pieces_are_served_beside_it(served: Served) -> None:
    reply = await served.talk(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 200 OK")
    assert reply.endswith(b"ok")
    async with speaking(served.port, begin=False) as client:
        for piece in (b"PRI * HTTP/2.0\r\n", b"\r\n", b"SM\r", b"\n\r\n"):
            client.raw(piece)
            await client.writer.drain()
            await asyncio.sleep(0)
        client.raw(b"\0\0\0\4\0\0\0\0\0")
        client.request(1, GET)
        assert (await client.answer(1)).body == b"ok"


async def test_prior_knowledge_is_refused_where_it_is_not_on(served: Served) -> None:
    served.edge.prior_knowledge = False
    reply = await served.talk(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 505 ")
