"""The client's side over raw sockets: what comes in, what goes out, when it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.server.edge import ClientLimits
from tests.server.serving import Recorder, answer, send_and_reset, serving, undated

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
LAST_GET = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"


async def test_a_request_reaches_the_application_byte_for_byte() -> None:
    app = Recorder()
    async with serving(app) as served:
        await served.talk(
            b"FOO /a%2Fb//x/../y?q=%20&z HTTP/1.1\r\nHost: A.test:80\r\n"
            b"X-A: 1\r\nx-a:  \xff 2\t\r\n"
            b"Connection: close\r\n\r\n"
        )
    (scope,) = app.scopes
    assert scope["method"] == "FOO"
    assert scope["raw_path"] == b"/a%2Fb//x/../y"
    assert scope["query_string"] == b"q=%20&z"
    assert scope["extensions"]["hipache.target"] == b"/a%2Fb//x/../y?q=%20&z"
    assert scope["headers"][:3] == [(b"host", b"A.test:80"), (b"x-a", b"1"), (b"x-a", b"\xff 2")]


async def test_an_empty_query_keeps_its_question_mark() -> None:
    app = Recorder()
    async with serving(app) as served:
        await served.talk(b"GET /a? HTTP/1.0\r\n\r\n")
    assert app.scopes[0]["extensions"]["hipache.target"] == b"/a?"


async def test_head_and_body_leave_in_one_write() -> None:
    async with serving(Recorder()) as served:
        client = await served.connect()
        client.send(GET)
        assert undated(await client.read()) == (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok"
        )


async def test_a_head_does_not_wait_for_the_first_event() -> None:
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"data: 1\n\n"})

    async with serving(app) as served:
        client = await served.connect()
        client.send(GET)
        assert b"transfer-encoding: chunked" in await client.until(b"\r\n\r\n")
        go_on.set()
        assert await client.until(b"0\r\n\r\n") == b"9\r\ndata: 1\n\n\r\n0\r\n\r\n"


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, scope["raw_path"])

    async with serving(app) as served:
        answers = await served.talk(
            b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
            b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
            b"GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
    assert [part[-2:] for part in answers.split(b"HTTP/1.1 200 OK")[1:]] == [b"/1", b"/2", b"/3"]


@pytest.mark.parametrize("rest", [b"", b"POST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"])
async def test_all_that_was_sent_before_a_half_close_is_answered(rest: bytes) -> None:
    left: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["raw_path"] == b"/3":
            left.append(await receive())
            return
        client = next(iter(served.server.server_state.connections))
        while not client._eof:  # type: ignore[attr-defined]  # noqa: ASYNC110
            await asyncio.sleep(0)
        await answer(send, scope["raw_path"])

    async with serving(app) as served:
        answers = await served.talk(
            b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n" + rest,
            eof=True,
        )
    parts = answers.split(b"HTTP/1.1 200 OK")[1:]
    assert [part[-2:] for part in parts] == [b"/1", b"/2"]
    assert [b"connection: close" in part for part in parts] == [False, not rest]
    assert [message["type"] for message in left] == (["http.disconnect"] if rest else [])


async def test_a_half_closed_client_gets_its_answer() -> None:
    eof_seen = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await eof_seen.wait()
        await answer(send, b"late")

    async with serving(app) as served:
        client = await served.connect()
        client.send(GET)
        client.end()
        eof_seen.set()
        assert (await client.rest()).endswith(b"late")


class Waiting:
    """An application that never answers, and is cancelled when its client leaves."""

    def __init__(self) -> None:
        self.running = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        scope["extensions"]["hipache.exchange"].on_disconnect(task.cancel)
        self.running.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()


async def test_a_client_that_resets_is_gone_at_once() -> None:
    app = Waiting()
    async with serving(app) as served:
        client = await served.connect()
        client.send(GET)
        await app.running.wait()
        client.reset()
        await app.left.wait()


async def test_what_a_client_sent_that_has_reset_already_is_not_served() -> None:
    """Its address is not known any more, and the access rules judge by that."""
    app = Recorder()
    async with serving(app) as served:
        send_and_reset(served.port, GET)
        await served.talk(LAST_GET)
    assert len(app.scopes) == 1


async def test_a_client_that_closes_is_told_from_one_that_half_closes() -> None:
    app = Waiting()
    async with serving(app, ClientLimits(half_close_probe=0.001, drain_grace=0.001)) as served:
        client = await served.connect()
        client.send(GET)
        await app.running.wait()
        await client.close()
        await app.left.wait()


async def test_a_second_request_can_not_hide_behind_an_upgrade() -> None:
    app = Recorder()
    hidden = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
    async with serving(app) as served:
        client = await served.connect()
        client.send(
            b"POST /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: foo\r\n"
            b"Content-Length: %d\r\n\r\n" % len(hidden)
        )
        client.send(hidden)
        await client.rest()
    assert [scope["raw_path"] for scope in app.scopes] == [b"/a"]
    assert app.bodies == [hidden]


async def test_a_cut_answer_does_not_look_whole() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    async with serving(app) as served:
        assert not (await served.talk(GET)).endswith(b"0\r\n\r\n")


async def test_an_http10_client_never_gets_chunks() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": b"b"})

    async with serving(app) as served:
        got = await served.talk(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert undated(got) == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nab"


async def test_what_was_sent_before_a_cut_arrives() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        fields = [(b"content-length", b"9")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        scope["extensions"]["hipache.exchange"].cut()

    async with serving(app) as served:
        assert undated(await served.talk(GET)).endswith(b"content-length: 9\r\n\r\nhalf")


async def test_a_cut_is_a_reset_where_the_close_would_end_the_body() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        await go_on.wait()
        scope["extensions"]["hipache.exchange"].cut()

    go_on = asyncio.Event()
    async with serving(app) as served:
        client = await served.connect()
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        await client.until(b"half")
        go_on.set()
        with pytest.raises(ConnectionResetError):
            await client.read()
