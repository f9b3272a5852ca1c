"""Requests of the proxy's own, where a kept connection was closed meanwhile."""

from __future__ import annotations

from app.routing import parse_backend
from app.upstream.client import UpstreamClient, body_of
from app.upstream.own_requests import own_request
from tests.backends import Conversation, answer, scripted

FIELDS = [(b"host", b"x.org")]


async def test_a_connection_that_was_closed_is_replaced(client: UpstreamClient) -> None:
    """Its backend answers one request on each connection, and closes with the next one."""

    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(answer(b"%d" % conversation.number))
        await conversation.receive()

    async def told() -> bytes | None:
        got = await own_request(client, backend, b"GET", b"/", fields=FIELDS)
        try:
            return await body_of(got, 10)
        finally:
            await got.aclose()

    async with scripted(script) as scripts:
        backend = parse_backend(scripts.url, 0)
        assert [await told(), await told()] == [b"0", b"1"]
        assert len(scripts.requests) == 3
