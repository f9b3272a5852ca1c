"""What comes of a backend's answer, byte for byte, over real sockets."""

from __future__ import annotations

import pytest

from app.config import Config
from app.routing import parse_backend
from app.upstream.client import UpstreamClient
from tests.backends import answer, answering


@pytest.fixture
async def client():
    async with UpstreamClient(Config()) as client:
        yield client


async def ask(client, url, *, method=b"GET", target=b"/", headers=(), body=None):
    backend = parse_backend(url, 0)
    return await client.open(backend, method, target, [(b"host", b"x.org"), *headers], body)


async def test_a_small_answer_is_whole_and_its_connection_is_kept(client):
    async with answering(
        answer(b"hello", b"X-A: b", b"Set-Cookie: a", b"Set-Cookie: b")
    ) as backend:
        for fresh in (True, False):
            got = await ask(client, backend.url, target=b"/a%2Fb//x/../y?q=%20")
            assert (got.status, got.reason, got.whole) == (200, b"OK", b"hello")
            assert got.headers[:3] == [(b"x-a", b"b"), (b"set-cookie", b"a"), (b"set-cookie", b"b")]
            assert (got.connect_time is not None) is fresh
            await got.aclose()
        assert backend.accepted == 1
        assert (
            backend.requests[0].head == b"GET /a%2Fb//x/../y?q=%20 HTTP/1.1\r\nhost: x.org\r\n\r\n"
        )
