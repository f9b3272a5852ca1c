"""Tests of routes and of what becomes of requests: docs/testing.md explains them."""

import asyncio

import httpx
import pytest
import respx
from fastapi import FastAPI
from starlette.testclient import TestClient


async def ask(proxy, path="/", host="www.example.com"):
    async with proxy.client(host) as client:
        return await client.get(path)


def test_a_host_leads_to_its_backend(hipache_proxy):
    shop = hipache_proxy.backend("the shop")
    hipache_proxy.routes["www.example.com"] = [shop.url]

    reply = asyncio.run(ask(hipache_proxy, "/cart?item=7"))

    assert reply.text == "the shop"
    assert shop.requests[0].target == "/cart?item=7"
    assert shop.requests[0].header("X-Forwarded-For") == "127.0.0.1"


def test_a_prefix_has_its_own_backend(hipache_proxy):
    site, api = hipache_proxy.backend("site"), hipache_proxy.backend("api")
    hipache_proxy.routes.set("www.example.com", site.url)
    hipache_proxy.routes.set("www.example.com/api", api.url, options={"strip": "on"})

    client = TestClient(hipache_proxy.app, base_url="http://www.example.com")

    assert client.get("/").text == "site"
    assert client.get("/api/users").text == "api"
    assert api.requests[0].target == "/users"


def test_a_backend_that_refuses_is_left_out_for_a_while(hipache_proxy):
    first, second = hipache_proxy.backend("first"), hipache_proxy.backend("second")
    hipache_proxy.routes["www.example.com"] = [first.url, second.url]

    async def scenario():
        async with hipache_proxy.client("www.example.com") as client:
            hipache_proxy.chooser.value = 0.0
            assert (await client.get("/")).text == "first"
            first.refuse()
            assert (await client.get("/")).text == "second"
            assert first.url in hipache_proxy.routes.marks("www.example.com")

            first.answer("first is back")
            assert (await client.get("/")).text == "second"
            hipache_proxy.clock.advance(31)
            assert "first is back" in [(await client.get("/")).text for _ in range(3)]

    asyncio.run(scenario())


class TestWithATimeout:
    @pytest.fixture
    def hipache_config(self):
        return {"server": {"tcpTimeout": 0.2}}

    def test_a_backend_that_stalls_is_a_504(self, hipache_proxy):
        backend = hipache_proxy.backend()
        hipache_proxy.routes["www.example.com"] = [backend.url]
        backend.stall()
        assert asyncio.run(ask(hipache_proxy)).status_code == 504


def test_a_cut_answer_never_looks_complete(hipache_proxy):
    backend = hipache_proxy.backend()
    hipache_proxy.routes["www.example.com"] = [backend.url]
    backend.truncate("a long answer", after=3)

    client = TestClient(hipache_proxy.app, base_url="http://www.example.com")
    reply = client.get("/")

    assert reply.headers["content-length"] == "13"
    assert reply.content == b"a l"


@respx.mock
def test_backends_may_be_mocked(hipache_proxy):
    hipache_proxy.routes["www.example.com"] = ["http://shop.internal:8000"]
    route = respx.get("http://shop.internal:8000/cart").respond(200, text="mocked")

    assert asyncio.run(ask(hipache_proxy, "/cart")).text == "mocked"
    assert route.called


def test_without_a_mock_nothing_leaves_the_machine(hipache_proxy):
    hipache_proxy.routes["www.example.com"] = ["http://shop.internal:8000"]
    assert asyncio.run(ask(hipache_proxy)).status_code == 502


def test_mounted_in_fastapi(hipache_proxy):
    shop = hipache_proxy.backend("the shop")
    hipache_proxy.routes["testserver"] = [shop.url]
    site = FastAPI()

    @site.get("/own")
    def own():
        return "ours"

    site.mount("/", hipache_proxy.app)

    with TestClient(site) as client:
        assert client.get("/own").json() == "ours"
        assert client.get("/other").text == "the shop"


def test_many_requests_at_once(hipache_proxy):
    backend = hipache_proxy.backend()
    hipache_proxy.routes["www.example.com"] = [backend.url]

    async def scenario():
        transport = httpx.ASGITransport(hipache_proxy.app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://www.example.com"
        ) as client:
            return await asyncio.gather(*(client.get("/") for _ in range(20)))

    assert {reply.status_code for reply in asyncio.run(scenario())} == {200}
