"""Hooks in a running proxy: what they may do, and what becomes of what they break."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from app.hooks import Answer
from tests.backends import answer, answering, refusing
from tests.hooks.modules import FORMS, Write, in_form, loaded
from tests.redis_servers import RedisServer, until
from tests.serving import proxying
from tests.websocket.peers import echo_backend


def divide(*_: object) -> None:
    raise ZeroDivisionError


async def divide_later(*_: object) -> None:
    raise ZeroDivisionError


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
WRONG: list[tuple[str, str, Callable[..., object]]] = [
    ("it raises", "request", divide),
    ("it raises in the end", "request", divide_later),
    ("it says a number", "request", lambda request: 403),
    ("it moves the body's end", "request", lambda r: r.set_header("Transfer_Encoding", "chunked")),
    ("it hides a loop", "request", lambda request: request.remove_header("CDN_Loop")),
    ("no answer has this status", "request", lambda request: Answer(101)),
    ("it raises", "route", divide),
    ("it raises in the end", "route", divide_later),
    ("it says a URL", "route", lambda request, route: "http://127.0.0.1"),
    ("it raises", "response", divide),
    ("it gives no value", "response", lambda r, response: response.headers.append((b"x", None))),
    ("it splits the head", "response", lambda r, it: it.headers.append((b"x", b"1\r\ny: b"))),
    ("it says a word", "response", lambda request, response: "later"),
    ("it leaves a coroutine", "response", divide_later),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("either_way")
async def test_a_hook_that_fails_lets_nobody_in(
    valkey: RedisServer, write_hooks: Write, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    name = write_hooks(
        in_form(
            form,
            """
        wrong = {}
        def on_request(request):
            return wrong["request"](request) if "request" in wrong else None
        def on_route(request, route):
            return wrong["route"](request, route) if "route" in wrong else None
        def on_response(request, response):
            return wrong["response"](request, response) if "response" in wrong else None
        """,
        )
    )
    async with (
        answering(answer(b"secret")) as there,
        proxying(valkey, hooks=name, requestIdHeader="X-Id") as proxy,
    ):
        await proxy.route("a.test", there)
        assert (await proxy.get()).endswith(b"secret")
        for what, hook, function in WRONG:
            caplog.clear()
            loaded(name).wrong = {hook: function}
            reply = await proxy.get()
            assert reply.startswith(b"HTTP/1.1 500 "), (hook, what)
            assert b"secret" not in reply, (hook, what)
            shown = reply.lower().partition(b"x-id: ")[2].partition(b"\r")[0].decode()
            assert shown
            lines = [r for r in caplog.records if f"request_id={shown}" in r.getMessage()]
            assert any(f"hook=on_{hook}" in r.getMessage() for r in lines), (hook, what)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("either_way")
async def test_every_hook_may_be_a_coroutine_or_a_plain_function(
    valkey: RedisServer, write_hooks: Write, form: str
) -> None:
    name = write_hooks(
        in_form(
            form,
            """
        ends = []
        deaths = []
        def on_request(request):
            request.state["seen"] = request.id
            request.set_header("X-Seen", request.id)
        def on_route(request, route):
            request.set_header("X-Key", route.frontend.key)
        def on_response(request, response):
            response.headers.append(("X-State", request.state["seen"]))
            response.headers.append((b"x-backend", (response.backend or "none").encode()))
        def on_end(end):
            ends.append((end.request.path, end.status, end.attempts, end.bytes_in, end.error))
        def on_dead(frontend, backend, cause):
            deaths.append((frontend, backend, cause))
        """,
        )
    )
    async with (
        answering(answer(b"in")) as there,
        refusing() as gone,
        proxying(valkey, hooks=name) as proxy,
    ):
        await proxy.route("a.test", there)
        reply = await proxy.get(b"/one?x")
        seen = there.requests[0].get(b"x-seen")
        assert seen
        assert there.requests[0].get(b"x-key") == b"a.test"
        assert b"x-state: %b\r\n" % seen in reply
        assert b"x-backend: %b\r\n" % there.url.encode() in reply
        post = b"POST /two HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc"
        assert (await proxy.talk(post)).endswith(b"in")
        assert b"x-backend: none\r\n" in await proxy.get(b"/three", b"nobody.test")
        await proxy.route("b.test", gone, gone.replace("127.0.0.1", "127.0.0.2"))
        await proxy.get(b"/four", b"b.test")
        module = loaded(name)
        await until(lambda: len(module.ends) == 4 and module.deaths)
        assert module.ends[:3] == [
            ("/one", 200, 1, 0, ""),
            ("/two", 200, 1, 3, ""),
            ("/three", 400, 0, 0, "frontend not found"),
        ]
        assert {death[:2] for death in module.deaths} >= {("b.test", gone)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("either_way")
async def test_no_edit_moves_the_end_of_an_answer(
    valkey: RedisServer, write_hooks: Write, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    name = write_hooks(
        in_form(
            form,
            """
        def on_response(request, response):
            response.headers = [
                (b"Content-Length", b"1"), (b"transfer-encoding", b"chunked"),
                (b"connection", b"x-a"), (b"x-a", b"b"),
            ]
        """,
        )
    )
    async with answering(answer(b"whole")) as there, proxying(valkey, hooks=name) as proxy:
        await proxy.route("a.test", there)
        client = await proxy.connect()
        for _ in range(2):
            client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            status, headers, body = await client.response()
            assert (status, body) == (200, b"whole")
            lines = headers.lower().split(b"\r\n")
            assert b"x-a: b" in lines
            assert lines.count(b"content-length: 5") == 1
            assert not [x for x in lines if x.startswith((b"transfer-", b"connection"))]
        assert "hook's edit ignored" in caplog.text


async def test_a_request_that_plain_hooks_meet_needs_no_task(
    valkey: RedisServer, write_hooks: Write
) -> None:
    name = write_hooks(
        """
        import asyncio
        tasks = []
        def on_request(request):
            tasks.append(request._request.task)
        def on_route(request, route): pass
        def on_response(request, response):
            tasks.append(request._request.task)
        """
    )
    async with answering(answer(b"in")) as there, proxying(valkey, hooks=name) as proxy:
        await proxy.route("a.test", there)
        client = await proxy.connect()
        for _ in range(3):  # the first ones find no route in memory, or no connection
            client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            assert (await client.response())[0] == 200
        assert loaded(name).tasks[-2:] == [None, None]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("relayed", [False, True])
async def test_websockets_meet_hooks(
    valkey: RedisServer, write_hooks: Write, relayed: bool, form: str
) -> None:
    name = write_hooks(
        in_form(
            form,
            """
        from hipache.hooks import Answer
        ends = []
        def on_request(request):
            assert request.web_socket
            if request.path == "/closed":
                return Answer(403, "closed")
        def on_route(request, route):
            if request.path == "/broken":
                raise RuntimeError
        def on_response(request, response):
            if request.path == "/bad":
                raise RuntimeError
            response.headers = [item for item in response.headers if item[0] == b"nothing"]
            response.headers.append((b"x-hooked", b"yes"))
        def on_end(end):
            ends.append(end.status)
        """,
        )
    )
    async with (
        echo_backend() as there,
        proxying(valkey, hooks=name, webSocketRelay=relayed) as proxy,
    ):
        await proxy.route("localhost", there.url.replace("ws:", "http:"))
        url = f"ws://localhost:{proxy.port}"
        async with connect(f"{url}/", host="127.0.0.1", port=proxy.port, proxy=None) as ws:
            assert ws.response is not None
            assert ws.response.headers["x-hooked"] == "yes"
            await ws.send("hello")
            assert await ws.recv() == "hello"
        for path, status in (("closed", 403), ("broken", 500), ("bad", 500)):
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"{url}/{path}", host="127.0.0.1", port=proxy.port, proxy=None)
            assert refused.value.response.status_code == status
        await until(lambda: sorted(loaded(name).ends) == [101, 403, 500, 500])


@pytest.mark.parametrize("hook", ["on_request(request)", "on_response(request, response)"])
async def test_a_hook_that_waits_ends_with_its_client(
    valkey: RedisServer, write_hooks: Write, hook: str
) -> None:
    name = write_hooks(
        f"""
        import asyncio
        came, left = asyncio.Event(), asyncio.Event()
        async def {hook}:
            came.set()
            try:
                await asyncio.Event().wait()
            finally:
                left.set()
        """
    )
    async with answering(answer(b"in")) as there, proxying(valkey, hooks=name) as proxy:
        await proxy.route("a.test", there)
        client = await proxy.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        await loaded(name).came.wait()
        client.reset()
        async with asyncio.timeout(5):
            await loaded(name).left.wait()


async def test_a_request_of_a_paused_site_meets_on_request_once(
    valkey: RedisServer, write_hooks: Write
) -> None:
    name = write_hooks(
        """
        from asyncio import Event
        met, routed = [], Event()
        def on_request(request): met.append(request.id)
        def on_route(request, route): routed.set()
        """
    )
    async with answering(answer(b"in")) as there, proxying(valkey, hooks=name) as proxy:
        await proxy.route("a.test", there)
        async with valkey.client as store:
            await store.hset("options:a.test", "pause", "30")
            asking = asyncio.create_task(proxy.get())
            await loaded(name).routed.wait()
            assert loaded(name).met
            await store.delete("options:a.test")
        assert (await asking).endswith(b"in")
    assert len(loaded(name).met) == 1


async def test_a_hook_in_the_background_that_fails_is_logged(
    valkey: RedisServer, write_hooks: Write, caplog: pytest.LogCaptureFixture
) -> None:
    name = write_hooks("async def on_end(end): 1 / 0")
    async with proxying(valkey, hooks=name) as proxy:
        await proxy.get()
        await until(lambda: "ZeroDivisionError" in caplog.text)
    assert [r.levelno for r in caplog.records if "hook failed" in r.getMessage()] == [logging.ERROR]


@pytest.mark.parametrize("form", FORMS)
async def test_requests_over_http2_meet_hooks(
    valkey: RedisServer, write_hooks: Write, form: str
) -> None:
    name = write_hooks(
        in_form(
            form,
            """
        from hipache.hooks import Answer
        def on_request(request):
            if request.path == "/closed":
                return Answer(403, request.http_version)
        def on_response(request, response):
            response.headers += [(b"x-hooked", b"yes"), (b"connection", b"close")]
        """,
        )
    )
    async with (
        answering(answer(b"in")) as there,
        proxying(valkey, http2=True, hooks=name) as proxy,
        httpx.AsyncClient(http1=False, http2=True, trust_env=False) as client,
    ):
        await proxy.route("a.test", there)
        for path, status, body in (("", 200, "in"), ("closed", 403, "2")):
            url = f"http://127.0.0.1:{proxy.port}/{path}"
            reply = await client.get(url, headers={"Host": "a.test"})
            assert (reply.http_version, reply.status_code, reply.text) == ("HTTP/2", status, body)
            assert reply.headers["x-hooked"] == "yes"
            assert "connection" not in reply.headers


@pytest.mark.usefixtures("either_way")
async def test_an_answer_waits_for_a_coroutine_and_comes_whole(
    valkey: RedisServer, write_hooks: Write
) -> None:
    name = write_hooks(
        """
        from asyncio import Event
        came, goes = Event(), Event()
        async def on_response(request, response):
            came.set()
            await goes.wait()
            fields = dict(response.headers)
            response.headers.append((b"x-hsts", fields[b"strict-transport-security"]))
        """
    )
    long = bytes(300_000)
    bodies = {
        "short": (b"in", answer(b"in")),
        "long": (long, answer(long)),
        "in chunks": (long, CHUNKED + b"493e0\r\n%b\r\n0\r\n\r\n" % long),
        "up to the close": (long, b"HTTP/1.1 200 OK\r\n\r\n" + long),
    }
    async with (
        proxying(valkey, hooks=name, trustedProxies=["127.0.0.1"]) as proxy,
        httpx.AsyncClient(trust_env=False) as client,
        valkey.client as store,
    ):
        module = loaded(name)
        for number, (body, said) in enumerate(bodies.values()):
            host = f"{number}.test"
            await store.hset(f"options:{host}", "hsts", "60")
            async with answering(said) as there:
                await proxy.route(host, there)
                for sent in (b"", b"ok"):
                    module.came, module.goes = asyncio.Event(), asyncio.Event()
                    asking = asyncio.create_task(client.request(
                        "POST" if sent else "GET", f"http://127.0.0.1:{proxy.port}/", content=sent,
                        headers={"Host": host, "X-Forwarded-Proto": "https"},
                    ))  # fmt: skip
                    await module.came.wait()
                    assert not asking.done()
                    module.goes.set()
                    reply = await asking
                    assert (reply.status_code, reply.content) == (200, body)
                    assert reply.headers["x-hsts"].startswith("max-age=60")
