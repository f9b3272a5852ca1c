"""Bodies in both directions: pace, expectation, length, and what an application may not do."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from app.server.edge import ClientLimits
from tests.server.serving import Recorder, answer, read_body, serving, undated

GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def test_a_large_body_goes_through_at_the_applications_pace() -> None:
    size, most = 20_000_000, 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal most
        total, more = 0, True
        while more:
            message = await receive()
            most = max(most, len(message["body"]))
            total += len(message["body"])
            more = message["more_body"]
        await answer(send, b"%d" % total)

    async with serving(app) as served:
        client = await served.connect()
        client.send(POST + b"Content-Length: %d\r\n\r\n" % size)
        client.send(bytes(size))
        assert (await client.response())[2] == b"%d" % size
    assert most <= 65536 + 262144  # one read of uvloop's above the mark


async def test_a_large_answer_waits_for_its_reader() -> None:
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(400):
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
            sent += 1
        await send({"type": "http.response.body"})

    async with serving(app) as served:
        client = await served.connect()
        client.writer.transport.pause_reading()
        client.send(GET)
        await served.talk(b"GET / HTTP/9.9\r\n\r\n")  # as long as another client takes
        assert sent < 400
        client.writer.transport.resume_reading()
        assert len(await client.rest()) > 400 * 65536


async def test_the_client_is_asked_to_continue_when_the_body_is_wanted() -> None:
    async with serving(Recorder()) as served:
        client = await served.connect()
        client.send(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert await client.until(b"\r\n\r\n") == CONTINUE
        client.send(b"abc")
        assert (await client.response())[0] == 200


async def test_nobody_is_asked_to_send_what_is_there() -> None:
    async with serving(Recorder()) as served:
        client = await served.connect()
        client.send(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabc")
        assert (await client.response())[0] == 200


async def test_a_refusal_before_the_body_ends_the_connection() -> None:
    """What comes next could be the body or a request: RFC 9110 §10.1.1."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"no", status=403)

    async with serving(app) as served:
        got = await served.talk(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 403 ")
    assert b"\r\nconnection: close\r\n" in got


async def test_the_rest_of_a_small_body_is_skipped() -> None:
    app = Recorder()

    async def early(scope: Any, receive: Any, send: Any) -> None:
        await (answer(send, b"early") if scope["raw_path"] == b"/" else app(scope, receive, send))

    async with serving(early) as served:
        client = await served.connect()
        client.send(POST + b"Content-Length: 5\r\n\r\nab")
        assert (await client.response())[2] == b"early"
        client.send(b"cdeGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.response())[2] == b"ok"
    assert app.scopes[0]["raw_path"] == b"/2"


async def test_an_early_answer_reaches_a_client_that_is_still_sending() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"too much", status=413)

    async with serving(app) as served:
        client = await served.connect()
        client.send(POST + b"Content-Length: 30000000\r\n\r\n" + bytes(10_000_000))
        status, head, body = await client.response()
    assert (status, body) == (413, b"too much")
    assert b"\r\nconnection: close\r\n" in head


async def test_receive_tells_that_the_client_left() -> None:
    messages: list[Any] = []
    done = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        messages.append(await receive())
        messages.append(await receive())
        done.set()

    async with serving(app) as served:
        client = await served.connect()
        client.send(GET)
        client.send(b"GET /2")
        client.reset()
        await done.wait()
    assert messages == [
        {"type": "http.request", "body": b"", "more_body": False},
        {"type": "http.disconnect"},
    ]


async def test_a_body_that_ends_early_is_a_disconnect() -> None:
    messages: list[Any] = []
    done = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while not messages or messages[-1]["type"] == "http.request":
            messages.append(await receive())
        done.set()

    async with serving(app) as served:
        client = await served.connect()
        client.send(POST + b"Content-Length: 5\r\n\r\nab")
        client.end()
        await done.wait()
    assert messages[-1] == {"type": "http.disconnect"}
    assert all(message.get("more_body", True) for message in messages)


async def test_receive_tells_the_end_of_the_answer() -> None:
    after: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        await answer(send)
        after.append(await receive())

    async with serving(app) as served:
        await served.talk(GET)
    assert after == [{"type": "http.disconnect"}]


async def test_a_send_to_a_client_that_left_raises() -> None:
    raised: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()
        try:
            await answer(send)
        except OSError as exc:
            raised.set_result(exc)

    async with serving(app) as served:
        client = await served.connect()
        client.send(GET)
        client.reset()
        await raised


@pytest.mark.parametrize(
    ("status", "headers", "chunks", "wire"),
    [
        pytest.param(200, [], [b"a", b"", b"b"], b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n", id="chunked"),
        pytest.param(200, [(b"content-length", b"2")], [b"a", b"b"], b"ab", id="with a length"),
        pytest.param(204, [], [b""], b"", id="204 has no body"),
        pytest.param(304, [(b"content-length", b"9")], [b""], b"", id="304 may tell a length"),
        pytest.param(200, [(b"transfer-encoding", b"gzip")], [b"a"], b"1\r\na\r\n0\r\n\r\n",
                     id="framing is ours"),
        pytest.param(200, [(b"Content-Length", b"1")], [b"a"], b"a", id="names in any case"),
    ],
)  # fmt: skip
async def test_bodies_are_framed(
    status: int, headers: list[tuple[bytes, bytes]], chunks: list[bytes], wire: bytes
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for chunk in chunks[:-1]:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": chunks[-1]})

    async with serving(app) as served:
        got = await served.talk(GET)
    head, _, body = got.partition(b"\r\n\r\n")
    assert body == wire
    assert b"gzip" not in head


async def test_a_backends_own_phrase_is_kept() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        start = {"type": "http.response.start", "status": 299, "headers": [], "reason": b"So So"}
        await send(start)
        await send({"type": "http.response.body"})

    async with serving(app) as served:
        assert (await served.talk(GET)).startswith(b"HTTP/1.1 299 So So\r\n")


SPLIT = b"1\r\nset-cookie: a=b"


@pytest.mark.parametrize(
    "start",
    [
        pytest.param({"headers": [(b"x", SPLIT)]}, id="a line end in a value"),
        pytest.param({"headers": [(b"x: 1\nset-cookie", b"a=b")]}, id="a bare LF in a name"),
        pytest.param({"headers": [(b"x", b"1\rset-cookie: a=b")]}, id="a bare CR in a value"),
        pytest.param({"headers": [(b"x", b"1\0")]}, id="NUL in a value"),
        pytest.param({"reason": b"OK\r\nset-cookie: a=b"}, id="a line end in the phrase"),
        pytest.param({"headers": [(b"content-length", b"+2")]}, id="a length that is none"),
        pytest.param({"headers": [(b"content-length", b"2")] * 2}, id="two lengths"),
        pytest.param({"status": 101}, id="an interim status"),
    ],
)
async def test_an_answer_can_not_be_split(
    start: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, **start})
        await send({"type": "http.response.body", "body": b"ok"})

    async with serving(app) as served:
        got = await served.talk(GET)
    assert got.startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in got


@pytest.mark.parametrize("body", [b"abc", b"a"])
async def test_a_body_of_another_length_than_announced_is_cut(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({
            "type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]
        })  # fmt: skip
        await send({"type": "http.response.body", "body": body})

    async with serving(app) as served:
        got = await served.talk(GET.replace(b"Connection: close\r\n", b""))
    assert undated(got) == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([{"type": "http.response.body"}], id="a body without a head"),
        pytest.param([{"type": "http.response.push"}], id="a message that is none"),
        pytest.param([], id="nothing"),
    ],
)
async def test_an_application_that_fails_is_answered_for(
    messages: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    async with serving(app) as served:
        assert (await served.talk(GET)).startswith(b"HTTP/1.1 500 ")
    assert [record.levelname for record in caplog.records if "app" in record.name] == ["ERROR"]


async def test_requests_sent_ahead_are_bounded() -> None:
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        await answer(send)

    async with serving(app, ClientLimits(head=1 << 20, drain_grace=0.001)) as served:
        client = await served.connect()
        request = b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"x" * 10_000)
        client.send(request * 150)
        await served.talk(b"GET / HTTP/9.9\r\n\r\n")
        assert max(len(c._buffer) for c in served.edge.connections) <= 65536 + 262144
        go_on.set()
        for _ in range(150):
            assert (await client.response())[0] == 200


TRAILING = {"type": "http.response.start", "status": 200, "headers": [], "trailers": True}
TE = GET.replace(b"Connection: close", b"TE: trailers\r\nConnection: TE, close")


def trailing(*trailers: dict[str, Any], body: bytes = b"hello") -> Any:
    """An application that ends its answer with `trailers`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert "http.response.trailers" in scope["extensions"]
        await send(TRAILING)
        await send({"type": "http.response.body", "body": body})
        for each in trailers:
            await send({"type": "http.response.trailers", **each})

    return app


@pytest.mark.parametrize("body", [b"hello", b""])
async def test_an_application_sends_trailers(body: bytes) -> None:
    app = trailing(
        {"headers": [(b"x-a", b"1")], "more_trailers": True},
        {"headers": [(b"x-b", b"2")]},
        body=body,
    )
    async with serving(app) as served:
        took, not_took = await served.talk(TE), await served.talk(GET)
    chunk = b"5\r\nhello\r\n" if body else b""
    assert took.endswith(b"\r\n\r\n" + chunk + b"0\r\nx-a: 1\r\nx-b: 2\r\n\r\n")
    assert not_took.endswith(b"\r\n\r\n" + chunk + b"0\r\n\r\n")


async def test_promised_trailers_that_do_not_come_are_none() -> None:
    async with serving(trailing()) as served:
        assert (await served.talk(TE)).endswith(b"5\r\nhello\r\n0\r\n\r\n")


async def test_a_trailer_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(trailing({"headers": [(b"x-a", b"1\r\n\r\nHTTP/1.1 200 OK")]})) as served:
        got = await served.talk(TE)
    assert got.endswith(b"\r\n5\r\nhello\r\n")
    assert "CR, LF or NUL" in caplog.text


async def test_trailers_end_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(trailing({}, {})) as served:
        assert (await served.talk(TE)).endswith(b"0\r\n\r\n")
    assert "unexpected ASGI message" in caplog.text
