"""What passes through the proxy unchanged, and what it changes: real sockets at both ends."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from app.main import create_app
from tests.backends import Conversation, answer, answering, scripted
from tests.redis_servers import RedisServer
from tests.serving import Proxy, config_of, proxying, serving

pytestmark = pytest.mark.usefixtures("either_way")


@pytest.fixture
async def proxy(valkey: RedisServer) -> AsyncIterator[Proxy]:
    async with proxying(valkey) as proxy:
        yield proxy


async def test_a_request_reaches_the_backend_and_its_answer_the_client(proxy: Proxy) -> None:
    async with answering(answer(b"hello")) as backend:
        await proxy.route("a.test", backend)
        reply = await proxy.get(b"/x?y=1")
    assert reply.startswith(b"HTTP/1.1 200 OK\r\n")
    assert reply.endswith(b"\r\n\r\nhello")
    assert backend.requests[0].line == (b"GET", b"/x?y=1")


@pytest.mark.parametrize(
    "target",
    [b"/a%2Fb", b"//", b"/;x", b"/a?", b"/%ff%0A", b"/a/../b", b"/?a=b?c&&", b"/a|b", b"*"],
)
async def test_the_target_arrives_byte_for_byte(proxy: Proxy, target: bytes) -> None:
    method = b"OPTIONS" if target == b"*" else b"GET"
    async with answering(answer()) as backend:
        await proxy.route("a.test", backend)
        await proxy.talk(b"%b %b HTTP/1.1\r\nHost: a.test\r\n\r\n" % (method, target))
    assert backend.requests[0].line == (method, target)


@pytest.mark.parametrize("method", [b"GET", b"PURGE", b"PROPFIND", b"FOO", b"get", b"M-SEARCH"])
async def test_any_method_passes(proxy: Proxy, method: bytes) -> None:
    async with answering(answer()) as backend:
        await proxy.route("a.test", backend)
        await proxy.talk(b"%b / HTTP/1.1\r\nHost: a.test\r\n\r\n" % method)
    assert backend.requests[0].line == (method, b"/")


async def test_connect_is_refused(proxy: Proxy) -> None:
    reply = await proxy.talk(b"CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 405 ")


async def test_fields_arrive_in_order_repeated_and_as_they_are(proxy: Proxy) -> None:
    async with answering(answer(b"", b"Set-Cookie: a=1", b"X-B: \xe9", b"Set-Cookie: b=2")) as b:
        await proxy.route("a.test", b)
        reply = await proxy.talk(
            b"GET / HTTP/1.1\r\nHost: A.test:81\r\nX-A: 1\r\nCookie: c\r\nx-a: \xff\r\n"
            b"Connection: close, x-hop\r\nX-Hop: 1\r\nTE: trailers\r\n\r\n"
        )
    names = [name.lower() for name, _ in b.requests[0].headers]
    assert names[:4] == [b"host", b"x-a", b"cookie", b"x-a"]
    assert b.requests[0].get(b"host") == b"A.test:81"
    assert not {b"connection", b"x-hop", b"te"} & set(names)
    head = reply.split(b"\r\n\r\n")[0].lower().split(b"\r\n")
    assert [line for line in head if line[:2] in (b"se", b"x-")] == [
        b"set-cookie: a=1", b"x-b: \xe9", b"set-cookie: b=2",
    ]  # fmt: skip


async def test_one_visitors_cookie_is_not_sent_with_the_next_ones_request(proxy: Proxy) -> None:
    async with answering(answer(b"", b"Set-Cookie: session=secret; Path=/")) as backend:
        await proxy.route("a.test", backend)
        await proxy.get()
        await proxy.get()
    assert backend.requests[1].get(b"cookie") is None


async def test_nothing_is_added_that_nobody_said(proxy: Proxy) -> None:
    async with answering(answer(b"x")) as backend:
        await proxy.route("a.test", backend)
        reply = await proxy.get()
    assert {name.lower() for name, _ in backend.requests[0].headers} == {
        b"host", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto",
        b"x-real-ip", b"x-request-id", b"via",
    }  # fmt: skip
    fields = {
        line.split(b":")[0].lower() for line in reply.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    }
    assert fields == {b"content-length", b"connection", b"date"}  # RFC 9110 §6.6.1


async def test_what_the_proxy_answers_itself_has_a_date(proxy: Proxy) -> None:
    reply = await proxy.get(host=b"nobody.test")
    assert reply.startswith(b"HTTP/1.1 400 ")
    assert reply.count(b"\r\ndate: ") == 1


async def test_a_426_says_what_to_upgrade_to(proxy: Proxy) -> None:
    raw = answer(b"", b"Upgrade: tls/1.2", b"Connection: Upgrade", status=b"426 Upgrade Required")
    async with answering(raw) as backend:
        await proxy.route("a.test", backend)
        reply = await proxy.get()
    assert b"\r\nupgrade: tls/1.2\r\n" in reply
    assert b"\r\nconnection: upgrade\r\n" in reply


async def test_the_backends_date_server_and_reason_stay_its_own(proxy: Proxy) -> None:
    raw = b"HTTP/1.1 299 Quite Fine\r\nDate: D\r\nServer: S\r\nContent-Length: 0\r\n\r\n"
    async with answering(raw) as backend:
        await proxy.route("a.test", backend)
        reply = await proxy.get()
    assert reply.startswith(b"HTTP/1.1 299 Quite Fine\r\n")
    assert reply.lower().count(b"\r\ndate: d\r\n") == reply.lower().count(b"\r\nserver: s\r\n") == 1


@pytest.mark.parametrize(
    ("trusted", "seen"), [([], b"127.0.0.1"), (["127.0.0.0/8"], b"6.6.6.6, 127.0.0.1")]
)
async def test_a_claimed_address_counts_only_from_a_trusted_proxy(
    valkey: RedisServer, trusted: list[str], seen: bytes
) -> None:
    async with proxying(valkey, trustedProxies=trusted) as proxy, answering(answer()) as backend:
        await proxy.route("a.test", backend)
        await proxy.talk(b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
    assert backend.requests[0].get(b"x-forwarded-for") == seen


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 5\r\n", b"hello"),
        (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"Content-Length: 5\r\nExpect: 100-continue\r\n", b"hello"),
    ],
)
async def test_a_body_arrives_whole(proxy: Proxy, framing: bytes, body: bytes) -> None:
    async with answering(answer(b"ok")) as backend:
        await proxy.route("a.test", backend)
        reply = await proxy.talk(b"POST / HTTP/1.1\r\nHost: a.test\r\n" + framing + b"\r\n" + body)
    assert b" 200 OK\r\n" in reply
    assert backend.requests[0].body == b"hello"


async def test_a_body_larger_than_what_is_held_arrives_whole(proxy: Proxy) -> None:
    body = bytes(range(256)) * 4096
    async with answering(answer(b"ok")) as backend:
        await proxy.route("a.test", backend)
        head = b"PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n" % len(body)
        await proxy.talk(head + body)
    assert backend.requests[0].body == body


@pytest.mark.parametrize(
    ("request_line", "raw", "body"),
    [
        (b"HEAD / HTTP/1.1", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b""),
        (b"GET / HTTP/1.1", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"GET / HTTP/1.1", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b""),
        (b"GET / HTTP/1.1", b"HTTP/1.1 103 H\r\nLink: x\r\n\r\n" + answer(b"later"), b"later"),
        (
            b"GET / HTTP/1.1",
            b"HTTP/1.0 200 OK\r\n\r\nuntil close",
            b"b\r\nuntil close\r\n0\r\n\r\n",
        ),
        (b"GET / HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\nuntil close", b"until close"),
    ],
)
async def test_answers_of_every_shape_are_framed_for_their_client(
    proxy: Proxy, request_line: bytes, raw: bytes, body: bytes
) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.send(raw)

    async with scripted(script) as backend:
        await proxy.route("a.test", backend)
        reply = await proxy.talk(request_line + b"\r\nHost: a.test\r\n\r\n")
    reply = reply.removeprefix(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
    assert reply.partition(b"\r\n\r\n")[2] == body


async def test_an_encoded_body_is_not_touched(proxy: Proxy) -> None:
    async with answering(answer(b"\x1f\x8bnot really", b"Content-Encoding: gzip")) as backend:
        await proxy.route("a.test", backend)
        reply = await proxy.get()
    assert reply.endswith(b"\x1f\x8bnot really")
    assert b"content-encoding: gzip" in reply.lower()


async def test_a_new_route_serves_the_next_request(proxy: Proxy) -> None:
    async with answering(answer(b"new")) as backend:
        assert b" 400 " in await proxy.get()
        await proxy.route("a.test", backend)
        assert b" 200 " in await proxy.get()


@pytest.mark.parametrize("version", ["2", "3"])
async def test_a_request_of_a_later_http_is_served(
    valkey: RedisServer, tmp_path: Path, version: str
) -> None:
    """As another ASGI server hands it over, one without extensions of ours."""

    class Later:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                scope = {**scope, "http_version": version, "extensions": {}}
            await self.app(scope, receive, send)

    log = tmp_path / "log"
    config = config_of(valkey, accessLog=str(log), accessLogFormat="{http_version} {status}")
    app = create_app(config)
    app.add_middleware(Later)
    async with answering(answer(b"hello")) as backend, serving(app) as port:
        proxy = Proxy(port, valkey)
        await proxy.route("a.test", backend)
        assert (await proxy.get()).endswith(b"hello")
    assert (backend.requests[0].get(b"via") or b"").startswith(version.encode() + b" hipache-")
    assert log.read_text() == f"{version} 200\n"
