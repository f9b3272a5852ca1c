"""Connections that queue are accepted by copies of the listening socket, while they do."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.server.accept_queue import AT_ONCE, AcceptQueue, queue_length

HELLO = b"hello"


class Greeter(asyncio.Protocol):
    """Says hello and closes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.write(HELLO)
        transport.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """One that nobody accepts on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def queued(listener: socket.socket, count: int) -> list[socket.socket]:
    """So many connections that wait."""
    return [socket.create_connection(listener.getsockname(), timeout=20) for _ in range(count)]


async def until(condition: Callable[[], bool]) -> None:
    """Wait until that is so."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)


async def greeted(clients: list[socket.socket]) -> None:
    """All of them were accepted."""
    for client in clients:
        with client:
            assert await asyncio.to_thread(client.recv, 100) == HELLO


def test_the_kernel_tells_how_many_wait(listener: socket.socket, tmp_path: Path) -> None:
    assert queue_length(listener) == 0
    clients = queued(listener, 3)
    assert queue_length(listener) == 3
    for client in clients:
        client.close()
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket"))
        unix.listen()
        assert queue_length(unix) == 0


async def test_there_are_copies_while_connections_queue(listener: socket.socket) -> None:
    servers: list[asyncio.Server] = []
    alone = True

    async def listen(copy: socket.socket) -> asyncio.Server:
        servers.append(await asyncio.get_running_loop().create_server(Greeter, sock=copy))
        return servers[-1]

    def serving() -> int:
        return sum(server.is_serving() for server in servers)

    queue = AcceptQueue([listener], listen, lambda: alone, look_every=0.01)
    watch = asyncio.create_task(queue.watch())
    for turn in (1, 2):
        await greeted(queued(listener, 3))
        assert len(servers) == turn * (AT_ONCE - 1)
        await until(lambda: not serving())
    for end in ("a sibling", "the drain"):
        clients = queued(listener, 3)
        alone = True
        await until(lambda: serving() == AT_ONCE - 1)
        await greeted(clients)
        if end == "a sibling":
            alone = False
        else:
            watch.cancel()
            await asyncio.wait([watch])
            assert not serving()
        await until(lambda: not serving())


async def test_company_that_comes_meanwhile_leaves_no_copy(listener: socket.socket) -> None:
    servers: list[asyncio.Server] = []

    async def listen(copy: socket.socket) -> asyncio.Server:
        servers.append(await asyncio.get_running_loop().create_server(Greeter, sock=copy))
        return servers[-1]

    queue = AcceptQueue([listener], listen, lambda: len(servers) < 3, look_every=0.01)
    clients = queued(listener, 3)
    watch = asyncio.create_task(queue.watch())
    await until(lambda: len(servers) == 3)
    await until(lambda: not any(server.is_serving() for server in servers))
    assert len(servers) == 3
    watch.cancel()
    for client in clients:
        client.close()


async def test_a_defect_is_logged_and_leaves_no_copy(
    listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    servers: list[asyncio.Server] = []

    async def listen(copy: socket.socket) -> asyncio.Server:
        if servers:
            copy.close()
            raise RuntimeError("a defect")
        servers.append(await asyncio.get_running_loop().create_server(Greeter, sock=copy))
        return servers[-1]

    clients = queued(listener, 3)
    await AcceptQueue([listener], listen, lambda: True, look_every=0.01).watch()
    assert "the watch over the accept queue has failed" in caplog.text
    assert not servers[0].is_serving()
    for client in clients:
        client.close()
