"""Requests that have a connection of their own."""

import asyncio

import pytest

from app.config.structs import Config, ServerConfig, parse
from app.errors import (
    BackendForbidden,
    UpstreamBadAnswer,
    UpstreamConnectTimeout,
    UpstreamCut,
    UpstreamReset,
    UpstreamUnreachable,
)
from app.frontends.backends import parse_backend
from app.upstream.client import UpstreamClient, body_of
from tests.backends import answer, answering, refusing, silent, truncating, unreachable

FIELDS = [(b"host", b"a.example"), (b"connection", b"close")]


async def asked(client: UpstreamClient, url: str, target: bytes = b"/") -> bytes | None:
    found = await client.ask_alone(parse_backend(url, 0), b"GET", target, FIELDS)
    try:
        return await body_of(found, 100)
    finally:
        await found.aclose()


async def test_each_has_a_connection_of_its_own_and_no_pool():
    async with UpstreamClient(Config()) as client, answering(answer(b"hello")) as backend:
        assert [await asked(client, backend.url) for _ in range(3)] == [b"hello"] * 3
        assert backend.accepted == 3
        assert client.pools is not None
        assert client.pools.find(parse_backend(backend.url, 0).origin) is None


@pytest.mark.parametrize(("said", "error"), [
    pytest.param(b"nonsense\r\n\r\n", UpstreamBadAnswer, id="no answer"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", UpstreamCut, id="half"),
    pytest.param(b"", UpstreamReset, id="nothing"),
])  # fmt: skip
async def test_what_is_no_whole_answer_is_an_error(said, error):
    async with UpstreamClient(Config()) as client, truncating(said) as backend:
        with pytest.raises(error):
            await asked(client, backend.url)


async def test_what_cannot_be_reached_is_told_apart():
    async with UpstreamClient(Config(server=ServerConfig(connect_timeout=0.05))) as client:
        async with refusing() as url:
            with pytest.raises(UpstreamUnreachable, match="Connection refused"):
                await asked(client, url)
        async with unreachable() as url:
            with pytest.raises(UpstreamConnectTimeout):
                await asked(client, url)


async def test_a_denied_address_is_not_connected_to():
    config = parse('{"server": {"denyBackends": ["127.0.0.0/8"]}}')
    async with UpstreamClient(config) as client, answering(answer(b"hello")) as backend:
        with pytest.raises(BackendForbidden):
            await asked(client, backend.url)
        assert backend.accepted == 0


async def test_a_request_that_is_given_up_closes_its_connection():
    async with UpstreamClient(Config()) as client, silent() as backend:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asked(client, backend.url)
        await backend.until(lambda backend: backend.open == 0)


async def test_a_target_with_a_line_break_is_not_sent():
    async with UpstreamClient(Config()) as client, answering(answer(b"hello")) as backend:
        with pytest.raises(ValueError, match="line break"):
            await asked(client, backend.url, b"/a\nb")
        assert backend.accepted == 0
