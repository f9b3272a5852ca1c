"""Who is hurt by what a visitor asks for: nobody else; and who goes when a backend is sick."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from app.balancing.evidence import MORE
from tests.backends import Conversation, answer, answering, scripted
from tests.redis_servers import RedisServer
from tests.serving import Proxy, proxying

pytestmark = pytest.mark.usefixtures("either_way")

Script = Callable[[Conversation], Awaitable[None]]

OK = answer(b"ok")
EVENTS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"6\r\n: hi\n\n\r\n"
)


@pytest.fixture
async def proxy(valkey: RedisServer) -> AsyncIterator[Proxy]:
    """It believes X-Forwarded-For, so that there can be many clients."""
    timeouts = {"responseTimeout": 0.3, "tcpTimeout": 0.3}
    async with proxying(valkey, trustedProxies=["127.0.0.0/8"], **timeouts) as proxy:
        yield proxy


async def ask(proxy: Proxy, target: str = "/", client: int = 1, method: str = "GET") -> bytes:
    """The whole answer to a request of this client."""
    fields = f"Host: a.test\r\nX-Forwarded-For: 192.0.2.{client}\r\n"
    return await proxy.talk(f"{method} {target} HTTP/1.1\r\n{fields}\r\n".encode())


async def marked(proxy: Proxy) -> dict[str, str]:
    """What the store has of a.test, once this worker has written what it had to."""
    async with proxy.valkey.client as redis:
        return await redis.hgetall("dead-info:a.test")


def with_page(path: bytes, script: Script) -> Script:
    """A sound backend, but for one page."""

    async def converse(conversation: Conversation) -> None:
        while True:
            request = await conversation.receive()
            if request.line[1].startswith(path):
                await script(conversation)
            else:
                await conversation.send(OK)

    return converse


async def never(conversation: Conversation) -> None:
    await conversation.gone()


async def quiet(conversation: Conversation) -> None:
    await conversation.send(EVENTS)
    await conversation.gone()


async def resets(conversation: Conversation) -> None:
    conversation.reset()


@pytest.mark.parametrize(
    ("page", "ends"),
    [
        pytest.param(never, b" 504 ", id="a page that takes too long"),
        pytest.param(resets, b" 502 ", id="a page that crashes its process"),
        pytest.param(quiet, b": hi", id="an event stream that is quiet"),
    ],
)
async def test_one_page_takes_no_backend_away(proxy: Proxy, page: Script, ends: bytes) -> None:
    async with (
        scripted(with_page(b"/page", page)) as one,
        scripted(with_page(b"/page", page)) as two,
    ):
        await proxy.route("a.test", one, two)
        slow = [ask(proxy, "/page", client) for client in range(20)]
        assert all(ends in reply for reply in await asyncio.gather(*slow))
        for client in range(20):
            assert (await ask(proxy, "/", client)).endswith(b"ok")
        assert await marked(proxy) == {}


async def test_a_slow_page_runs_once(proxy: Proxy) -> None:
    async with (
        scripted(with_page(b"/page", never)) as one,
        scripted(with_page(b"/page", never)) as two,
    ):
        await proxy.route("a.test", one, two)
        assert b" 504 " in await ask(proxy, "/page")
        assert len(one.requests) + len(two.requests) == 1


@pytest.mark.parametrize(
    ("status", "method"),
    [(b"501 Unsupported method", "PROPFIND"), (b"505 HTTP Version Not Supported", "GET")],
)
async def test_what_the_client_chose_takes_no_backend_away(
    proxy: Proxy, status: bytes, method: str
) -> None:
    no = answer(b"", status=status)
    async with answering(no) as one, answering(OK) as two:
        await proxy.route("a.test", one, two)
        for number in range(60):
            await ask(proxy, f"/{number % 7}", number % 5, method)
        assert await marked(proxy) == {}
        assert len(one.requests) > 10


async def test_bodies_behind_answers_to_head_take_no_backend_away(proxy: Proxy) -> None:
    with_body = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    async with answering(with_body) as one, answering(answer(b"", b"X-A: b")) as two:
        await proxy.route("a.test", one, two)
        for number in range(60):
            await ask(proxy, f"/{number % 7}", number % 5, "HEAD")
        assert await marked(proxy) == {}


async def test_an_application_that_fails_behind_both_backends_keeps_both(proxy: Proxy) -> None:
    failing = answer(b"", status=b"502 Bad Gateway")
    async with answering(failing) as one, answering(failing) as two:
        await proxy.route("a.test", one, two)
        for number in range(100):
            await ask(proxy, f"/{number % 7}", number % 5)
        assert await marked(proxy) == {}


SICK: dict[str, Callable[[], object]] = {
    "a gateway without its application": lambda: answering(answer(b"", status=b"502 Bad Gateway")),
    "a broken deployment": lambda: answering(answer(b"", status=b"500 Internal Server Error")),
    "a process that crashes": lambda: scripted(with_page(b"/", resets)),
    "a process that hangs": lambda: scripted(with_page(b"/", never)),
    "a body that breaks off": lambda: scripted(with_page(b"/", cut)),
    "no HTTP at all": lambda: answering(b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n"),
}


async def cut(conversation: Conversation) -> None:
    await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    conversation.reset()


@pytest.mark.parametrize("sick", SICK)
async def test_a_backend_that_is_sick_by_itself_is_out_after_few_requests(
    proxy: Proxy, sick: str
) -> None:
    async with SICK[sick]() as bad, answering(OK) as good, answering(OK) as better:  # type: ignore[attr-defined]
        await proxy.route("a.test", bad, good, better)
        for number in range(15):
            some = [ask(proxy, f"/{n % 7}", n % 5) for n in range(number * 6, number * 6 + 6)]
            await asyncio.gather(*some)
        seen = len(bad.requests)
        replies = [await ask(proxy, f"/{n % 7}", n % 5) for n in range(20)]
        assert all(reply.endswith(b"ok") for reply in replies)
        assert len(bad.requests) == seen < 25
        (info,) = (await marked(proxy)).values()
    assert '"evidence": true' in info
    assert "requests failed in" in info


async def test_only_a_single_backend_has_nothing_to_be_compared_with(proxy: Proxy) -> None:
    async with answering(answer(b"", status=b"502 Bad Gateway")) as only:
        await proxy.route("a.test", only)
        for number in range(20):
            assert b" 502 " in await ask(proxy, f"/{number % 7}", number % 5)
        assert await marked(proxy) == {}


async def test_a_sick_primary_backend_gives_way_to_its_backup(proxy: Proxy) -> None:
    async with answering(answer(b"", status=b"502 Bad Gateway")) as sick, answering(OK) as backup:
        async with proxy.valkey.client as redis:
            await redis.hset("options:a.test", f"backup:http://127.0.0.1:{backup.port}", "on")
        await proxy.route("a.test", sick, backup)
        for number in range(MORE):
            assert b" 502 " in await ask(proxy, f"/{number % 7}", number % 5)
        assert (await ask(proxy)).endswith(b"ok")
