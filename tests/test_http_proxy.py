"""One request through the whole proxy, over real sockets to scripted backends."""

import pytest

from tests.backends import answer, answering
from tests.redis_servers import RedisServer
from tests.serving import proxying


async def test_a_request_reaches_the_backend_and_its_answer_the_client(valkey: RedisServer) -> None:
    async with proxying(valkey) as proxy, answering(answer(b"hello")) as backend:
        await proxy.route("a.test", backend)
        reply = await proxy.get(b"/x?y=1")
    assert reply.startswith(b"HTTP/1.1 200 OK\r\n")
    assert reply.endswith(b"\r\n\r\nhello")
    assert backend.requests[0].line == (b"GET", b"/x?y=1")


@pytest.mark.parametrize(
    "target",
    [b"/a%2Fb", b"//", b"/;x", b"/a?", b"/%ff%0A", b"/a/../b", b"/?a=b?c&&", b"/a|b", b"*"],
)
async def test_the_target_arrives_byte_for_byte(valkey: RedisServer, target: bytes) -> None:
    method = b"OPTIONS" if target == b"*" else b"GET"
    async with proxying(valkey) as proxy, answering(answer()) as backend:
        await proxy.route("a.test", backend)
        await proxy.talk(b"%b %b HTTP/1.1\r\nHost: a.test\r\n\r\n" % (method, target))
    assert backend.requests[0].line == (method, target)
