"""Connections: never too many, reused while they are good, and none left behind."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from app.config.structs import Config, ServerConfig
from app.errors import UpstreamBusy, UpstreamStale, UpstreamUnreachable
from app.routing import parse_backend
from app.upstream.client import UpstreamClient
from app.upstream.pool import Pool
from tests.backends import Conversation, answer, answering, refusing, scripted, silent, unreachable
from tests.upstream.asking import asked, opened, read

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"


def pools(client: UpstreamClient) -> list[Pool]:
    """Those that the client holds now."""
    return list(client._transport.pools)  # type: ignore[attr-defined]


async def eventually(condition: Callable[[], bool]) -> None:
    """Let the event loop run until `condition` holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nothing tells of what is inside the client
            await asyncio.sleep(0)


def tasks() -> list[str]:
    """Names of the engine's tasks that run now."""
    return [t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith("upstream")]


async def numbered(conversation: Conversation) -> None:
    """Answers each request with the number of its connection."""
    while True:
        await conversation.receive()
        await conversation.send(answer(b"%d" % conversation.number))


@pytest.mark.parametrize("server", [{"max_sockets": 10, "queue_timeout": 30.0}])
async def test_500_requests_share_10_connections(client):
    async with answering(answer(b"x" * 100)) as backend:
        answers = await asyncio.gather(*(asked(client, backend.url) for _ in range(500)))
        assert {got.body for got in answers} == {b"x" * 100}
        assert (backend.most_open, backend.accepted, len(backend.requests)) == (10, 10, 500)


@pytest.mark.parametrize("server", [{"max_sockets": 1, "queue_timeout": 30.0}])
async def test_who_waits_is_served_in_order(client):
    async with answering(answer(b"a")) as backend:
        await asyncio.gather(*(asked(client, backend.url, target=b"/%d" % n) for n in range(50)))
        assert [int(request.line[1][1:]) for request in backend.requests] == list(range(50))


@pytest.mark.parametrize("server", [{"max_sockets": 1, "queue_timeout": 0.05}])
async def test_the_patience_of_the_queue_ends(client):
    async with answering(HEAD) as backend:
        first = await opened(client, backend.url)
        with pytest.raises(UpstreamBusy) as caught:
            await opened(client, backend.url)
        assert (caught.value.status, caught.value.retry_after) == (503, 1)
        assert not caught.value.request_sent
        await first.aclose()
        await (await opened(client, backend.url)).aclose()
        assert backend.most_open == 1


@pytest.mark.parametrize("server", [{"max_sockets": 1}])
async def test_a_failed_connection_gives_its_place_to_the_next(client):
    async with refusing() as url:
        results = await asyncio.gather(
            *(opened(client, url) for _ in range(5)), return_exceptions=True
        )
    assert {type(result) for result in results} == {UpstreamUnreachable}
    assert pools(client) == []


@pytest.mark.parametrize("server", [{"max_sockets": 1}])
async def test_a_turn_that_comes_too_late_is_passed_on(client):
    finish = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(HEAD)
        await finish.wait()
        await conversation.send(b"done")
        await numbered(conversation)

    async with scripted(script) as backend:
        first = await opened(client, backend.url)
        queued = asyncio.create_task(opened(client, backend.url))
        await eventually(lambda: pools(client)[0].queued == 1)
        finish.set()
        await read(first)
        queued.cancel()  # which has been given the connection, but has not run yet
        assert (await asked(client, backend.url)).body == b"0"
        assert pools(client)[0].queued == 0


@pytest.mark.parametrize("server", [{"max_sockets": 1}])
@pytest.mark.parametrize("comes", [True, False], ids=["who waits comes", "who waits leaves"])
async def test_a_connection_lost_on_its_way_to_who_waits_holds_nobody_up(client, comes):
    """It was given to them, and has gone before they come for it: nobody will tell them again."""
    finish, lose = asyncio.Event(), asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        if conversation.number == 0:
            await conversation.send(HEAD)
            await finish.wait()
            await conversation.send(b"done")
            await lose.wait()
            conversation.reset()
            return
        await conversation.send(answer(b"%d" % conversation.number))
        await conversation.gone()

    async with scripted(script) as backend:
        origin = parse_backend(backend.url, 0)
        first = await opened(client, backend.url)
        place = client.queue(origin, None)
        assert place is not None
        finish.set()
        await read(first)
        assert place.done
        [pool] = pools(client)
        lose.set()
        await eventually(lambda: pool.connections == 0)
        assert pools(client) == [pool]  # it is in use: somebody is still to come
        if comes:
            async with asyncio.timeout(2):  # well below the patience of the queue
                head = [(b"Host", b"x.org")]
                got = await client.open(origin, b"GET", b"/", head, None, waiter=place)
            assert (await read(got)).body == b"1"
            assert pools(client) == [pool]
        else:
            client.dequeue(origin, place)
            assert pools(client) == []


@pytest.mark.parametrize("server", [{"max_sockets": 1}])
async def test_a_place_is_given_up_once(client):
    """The client leaves and the queue is served before the one who waits there runs again."""
    async with answering(HEAD) as backend:
        first = await opened(client, backend.url)
        queued = asyncio.create_task(opened(client, backend.url))
        await eventually(lambda: pools(client)[0].queued == 1)
        queued.cancel()
        pools(client)[0].close()
        with pytest.raises(asyncio.CancelledError):
            await queued
        await first.aclose()


async def leave_while_queued(client: UpstreamClient) -> None:
    async with answering(HEAD) as backend:
        first = await opened(client, backend.url)
        second = asyncio.create_task(opened(client, backend.url))
        await eventually(lambda: pools(client)[0].queued == 1)
        await cancelled(second)
        assert pools(client)[0].queued == 0
        await first.aclose()


async def leave_while_connecting(client: UpstreamClient) -> None:
    async with unreachable() as url:
        task = asyncio.create_task(opened(client, url))
        await eventually(lambda: bool(pools(client)))
        await cancelled(task)


async def leave_while_sending(client: UpstreamClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(65536)

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await asyncio.Event().wait()

    async with scripted(script) as backend:
        request = opened(
            client, backend.url, b"Transfer-Encoding: chunked", method=b"PUT", body=endless()
        )
        task = asyncio.create_task(request)
        await backend.until(lambda backend: len(backend.requests) == 1)
        assert tasks() == ["upstream request body"]
        await cancelled(task)
        await eventually(lambda: pools(client) == [])


async def leave_while_waiting(client: UpstreamClient) -> None:
    async with silent() as backend:
        task = asyncio.create_task(opened(client, backend.url))
        await backend.until(lambda backend: len(backend.requests) == 1)
        await cancelled(task)
        await backend.until(lambda backend: backend.open == 0)


async def leave_while_receiving(client: UpstreamClient) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(HEAD + b"a")
        await conversation.gone()

    async with scripted(script) as backend:
        got = await opened(client, backend.url)
        task = asyncio.create_task(read(got))
        await asyncio.sleep(0)
        await cancelled(task)
        await backend.until(lambda backend: backend.open == 0)


async def cancelled(task: asyncio.Task[object]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("server", [{"max_sockets": 1}])
@pytest.mark.parametrize(
    "leave",
    [
        leave_while_queued,
        leave_while_connecting,
        leave_while_sending,
        leave_while_waiting,
        leave_while_receiving,
    ],
)
async def test_a_client_that_leaves_leaves_nothing_behind(client, leave):
    await leave(client)
    await eventually(lambda: not pools(client) and not tasks())


async def test_the_connection_used_last_is_reused_first(client):
    async with scripted(numbered) as backend:
        await asyncio.gather(*(asked(client, backend.url) for _ in range(3)))
        assert len({(await asked(client, backend.url)).body for _ in range(3)}) == 1
        assert backend.accepted == 3


@pytest.mark.parametrize("server", [{"http_keep_alive": False}])
async def test_without_keep_alive_each_request_has_its_connection(client):
    async with scripted(numbered) as backend:
        assert [(await asked(client, backend.url)).body for _ in range(2)] == [b"0", b"1"]


@pytest.mark.parametrize("server", [{"backend_max_age": 0.02}])
async def test_an_old_connection_is_not_reused(client):
    async with scripted(numbered) as backend, asyncio.timeout(10):
        while (await asked(client, backend.url)).body == b"0":
            pass


@pytest.mark.parametrize("server", [{"backend_idle_timeout": 0.05}])
async def test_an_unused_connection_is_closed_and_its_pool_forgotten(client):
    async with scripted(numbered) as backend:
        await asked(client, backend.url)
        assert [pool.connections for pool in pools(client)] == [1]
        await backend.until(lambda backend: backend.open == 0)
        assert pools(client) == []


async def test_an_answer_that_is_given_up_costs_its_connection(client):
    async with answering(HEAD) as backend:
        got = await opened(client, backend.url)
        await got.aclose()
        await got.aclose()
        with pytest.raises(RuntimeError, match="closed"):
            await anext(got)
        await backend.until(lambda backend: backend.open == 0)
    assert pools(client) == []


async def test_closing_the_client_closes_its_connections():
    async with scripted(numbered) as backend:
        async with UpstreamClient(Config(server=ServerConfig(max_sockets=1))) as client:
            await asked(client, backend.url)
        await backend.until(lambda backend: backend.open == 0)


async def test_closing_the_client_sends_those_who_wait_away():
    async with answering(HEAD) as backend:
        client = UpstreamClient(Config(server=ServerConfig(max_sockets=1)))
        first = await opened(client, backend.url)
        second = asyncio.create_task(opened(client, backend.url))
        await eventually(lambda: pools(client)[0].queued == 1)
        await client.aclose()
        with pytest.raises(UpstreamUnreachable, match="stopping"):
            await second
        await first.aclose()


async def test_a_backend_that_closes_idle_connections_fails_no_get(client):
    async def script(conversation: Conversation) -> None:
        for _ in range(conversation.number % 4 + 1):
            await conversation.receive()
            await conversation.send(answer(b"a"))

    async def one() -> bytes:
        while True:
            try:
                return (await asked(client, backend.url)).body
            except UpstreamStale:  # the one failure that is retried without a word
                continue

    async def many() -> list[bytes]:
        return [await one() for _ in range(25)]

    async with scripted(script) as backend:
        results = await asyncio.gather(*(many() for _ in range(20)))
    assert results == [[b"a"] * 25] * 20


async def test_a_post_is_not_sent_into_a_connection_that_the_kernel_knows_is_closed(client):
    """The backend closes while the event loop is busy, so the loop has not seen it."""
    close, closed = threading.Event(), threading.Event()
    received = []

    def serve() -> None:
        for _ in range(2):
            sock, _ = listener.accept()
            received.append(sock.recv(65536)[:4])
            sock.sendall(answer(b"a"))
            close.wait()
            sock.close()
            closed.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=serve)
        thread.start()
        await asked(client, url, b"Content-Length: 0", method=b"POST")
        close.set()
        closed.wait()  # blocks the event loop on purpose
        got = await asked(client, url, b"Content-Length: 0", method=b"POST")
        thread.join()
    assert got.connect_time is not None
    assert received == [b"POST", b"POST"]
