"""httpx's seam: another transport in place of ours, and ours under another client.

The mocked backend is a closed port, so a request that goes past the mock fails.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import respx
from starlette.applications import Starlette

from app import errors
from app.config.structs import Config
from app.main import create_app
from app.routing import parse_backend
from app.upstream.client import ForeignAnswer, UpstreamClient
from app.upstream.limits import PoolLimits
from app.upstream.transport import Transport
from tests.backends import answer, answering, refusing
from tests.redis_servers import RedisServer
from tests.serving import Proxy, config_of, serving

FIELDS = [(b"Host", b"x.org"), (b"X-A", b"1"), (b"X-A", b"2"), (b"Content-Length", b"5")]


async def pieces() -> AsyncIterator[bytes]:
    yield b"hel"
    yield b"lo"


async def ask(client: UpstreamClient, url: str, target: bytes = b"/p?q=1") -> ForeignAnswer:
    got = await client.open(parse_backend(url, 0), b"POST", target, FIELDS, pieces())
    assert isinstance(got, ForeignAnswer)
    return got


def check(request: httpx.Request, url: str) -> None:
    """What a mock sees is what was sent."""
    assert (request.method, str(request.url)) == ("POST", f"{url}/p?q=1")
    assert request.headers.raw == FIELDS
    assert request.content == b"hello"
    assert request.extensions["target"] == b"/p?q=1"


async def test_respx_intercepts_what_the_client_sends(client):
    async with refusing() as url:
        with respx.mock(using="httpx") as router:
            headers = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
            route = router.post(f"{url}/p").respond(201, headers=headers, content=b"mocked")
            got = await ask(client, url)
            assert (got.status, got.reason, got.whole) == (201, b"Created", b"mocked")
            assert got.headers[:2] == [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
            assert b"".join([data async for data in got]) == b"mocked"
            await got.aclose()
            assert route.call_count == 1
            check(route.calls.last.request, url)
        with pytest.raises(errors.UpstreamUnreachable):
            await ask(client, url)


async def test_a_router_of_respx_may_be_the_transport():
    async with refusing() as url:
        router = respx.Router()
        route = router.post(f"{url}/p").respond(content=b"mocked")
        transport = httpx.MockTransport(router.async_handler)
        async with UpstreamClient(Config(), transport=transport) as client:
            assert (await ask(client, url)).whole == b"mocked"
        assert route.call_count == 1


async def test_a_mock_transport_may_be_the_transport():
    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    def handler(request: httpx.Request) -> httpx.Response:
        check(request, url)
        return httpx.Response(200, content=chunks())

    transport = httpx.MockTransport(handler)
    async with refusing() as url, UpstreamClient(Config(), transport=transport) as client:
        got = await ask(client, url)
        assert got.whole is None
        assert [data async for data in got] == [b"a", b"b"]
        await got.aclose()


async def test_httpx_own_transport_sends_the_target_byte_for_byte():
    async with answering(answer(b"hello")) as backend:
        async with UpstreamClient(Config(), transport=httpx.AsyncHTTPTransport()) as client:
            got = await ask(client, backend.url, b"/a%2Fb/../c")
            assert b"".join([data async for data in got]) == b"hello"
            await got.aclose()
        [request] = backend.requests
        assert (request.line, request.body) == ((b"POST", b"/a%2Fb/../c"), b"hello")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (httpx.ConnectTimeout("x"), errors.UpstreamConnectTimeout),
        (httpx.ConnectError("x"), errors.UpstreamUnreachable),
        (httpx.PoolTimeout("x"), errors.UpstreamBusy),
        (httpx.ReadTimeout("x"), errors.UpstreamTimeout),
        (httpx.ReadError("x"), errors.UpstreamReset),
        (httpx.RemoteProtocolError("x"), errors.UpstreamBadAnswer),
        (ConnectionRefusedError(), errors.UpstreamUnreachable),
    ],
)
async def test_what_another_transport_raises_is_translated(theirs, ours):
    def handler(request: httpx.Request) -> httpx.Response:
        raise theirs

    async with UpstreamClient(Config(), transport=httpx.MockTransport(handler)) as client:
        with pytest.raises(ours) as caught:
            await ask(client, "http://127.0.0.1:9")
        assert type(caught.value) is ours


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (httpx.ReadTimeout("x"), errors.UpstreamTimeout),
        (httpx.RemoteProtocolError("x"), errors.UpstreamCut),
    ],
)
async def test_what_another_transport_raises_midway_is_translated(theirs, ours):
    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        raise theirs

    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=broken()))
    async with UpstreamClient(Config(), transport=transport) as client:
        got = await ask(client, "http://127.0.0.1:9")
        assert await anext(aiter(got)) == b"a"
        with pytest.raises(ours):
            [data async for data in await ask(client, "http://127.0.0.1:9")]


async def test_what_the_body_raises_is_not_the_other_transports_fault():
    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        raise ConnectionResetError("the client has left")

    async with answering(answer(b"")) as backend:
        for transport in (None, httpx.AsyncHTTPTransport()):
            async with UpstreamClient(Config(), transport=transport) as client:
                with pytest.raises(ConnectionResetError, match="the client has left"):
                    await client.open(
                        parse_backend(backend.url, 0), b"POST", b"/", FIELDS, broken()
                    )


async def test_our_transport_serves_any_httpx_client():
    async with answering(answer(b"hello", b"X-A: b")) as backend:
        transport = Transport(PoolLimits(), lambda: pytest.fail("no TLS here"))
        async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
            response = await client.post(f"{backend.url}/x", content=b"body")
            assert (response.status_code, response.text) == (200, "hello")
            assert (response.headers["x-a"], response.reason_phrase) == ("b", "OK")
            async with client.stream("GET", backend.url) as response:
                assert [data async for data in response.aiter_raw()] == [b"hello"]
        assert [request.body for request in backend.requests] == [b"body", b""]
        assert backend.accepted == 1


async def test_the_client_keeps_no_cookies_and_follows_nothing(client):
    redirect = answer(b"", b"Set-Cookie: a=1", b"Location: /b", status=b"302 Found")
    async with answering(redirect) as backend:
        for _ in range(2):
            assert (await client.get(backend.url)).status_code == 302
        assert len(client.cookies) == 0
        assert [request.get(b"cookie") for request in backend.requests] == [None, None]


async def fetched(valkey: RedisServer, app: Starlette, url: str) -> bytes:
    """What a visitor of a.test gets from `app`, whose store says that `url` serves it."""
    async with serving(app) as port:
        proxy = Proxy(port, valkey)
        await proxy.route("a.test", url)
        return await proxy.get(b"/p")


async def test_the_application_takes_a_mock_transport(valkey):
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(200, content=b"mocked")

    async with refusing() as url:
        app = create_app(config_of(valkey), transport=httpx.MockTransport(handler))
        assert (await fetched(valkey, app, url)).endswith(b"\r\n\r\nmocked")
    assert seen == [f"{url}/p"]


async def test_the_application_takes_a_router_of_respx(valkey):
    async with refusing() as url:
        router = respx.Router()
        route = router.get(f"{url}/p").respond(content=b"mocked")
        transport = httpx.MockTransport(router.async_handler)
        app = create_app(config_of(valkey), transport=transport)
        assert (await fetched(valkey, app, url)).endswith(b"\r\n\r\nmocked")
        assert route.call_count == 1


async def test_the_application_takes_httpx_own_transport(valkey):
    async with answering(answer(b"hello")) as backend:
        app = create_app(config_of(valkey), transport=httpx.AsyncHTTPTransport())
        assert (await fetched(valkey, app, backend.url)).endswith(b"\r\n\r\nhello")
        assert [request.line for request in backend.requests] == [(b"GET", b"/p")]


async def test_respx_intercepts_what_the_application_sends(valkey):
    async with refusing() as url:
        with respx.mock(using="httpx") as router:
            route = router.get(f"{url}/p").respond(content=b"mocked")
            got = await fetched(valkey, create_app(config_of(valkey)), url)
            assert got.endswith(b"\r\n\r\nmocked")
            assert route.call_count == 1
