"""What a live session outlives, what ends it, and what is told of it."""

from __future__ import annotations

import asyncio
import socket

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Opcode

from tests.ports import free_port
from tests.websocket.peers import Wire, after_handshake, backend, echo_backend, silence
from tests.websocket.serving import FixedRoutes, proxying


async def test_a_session_outlives_the_edit_of_its_route(mode: str) -> None:
    async with (
        echo_backend() as there,
        proxying(there.url, mode=mode) as proxy,
        proxy.connect() as client,
    ):
        proxy.routes.route = FixedRoutes().route
        await client.send("still here")
        assert await client.recv() == "still here"


async def test_an_open_session_lets_nobody_else_retry_more(mode: str) -> None:
    """Thousands of sockets would be room for hundreds of retries at once."""
    async with echo_backend() as there, proxying(there.url, mode=mode) as proxy:
        gateway = proxy.endpoint._gateway
        async with proxy.connect() as client:
            await client.send("open")
            await client.recv()
            assert (gateway.in_flight, gateway.attempts._retry_queue._in_flight()) == (1, 0)
        await proxy.records.get()
        assert (gateway.in_flight, gateway.attempts._retry_queue._in_flight()) == (0, 0)


async def test_a_session_outlives_the_listener(mode: str) -> None:
    """The start of a drain: nothing new, but what is open goes on."""
    async with (
        echo_backend() as there,
        proxying(there.url, mode=mode) as proxy,
        proxy.connect() as client,
    ):
        stopping = asyncio.create_task(proxy.server.shutdown())
        await asyncio.sleep(0)  # it closes the listeners and asks the connections, then waits
        assert not proxy.server.servers[0].is_serving()
        await client.send("still here")
        assert await client.recv() == "still here"
        await client.close(4000)
        await stopping
    assert client.close_code == 4000


async def test_the_end_of_the_grace_is_a_1012(mode: str) -> None:
    async with (
        echo_backend() as there,
        proxying(there.url, mode=mode, grace=0.05) as proxy,
        proxy.connect() as client,
    ):
        await proxy.server.shutdown()
        with pytest.raises(ConnectionClosedError) as ended:
            await client.recv()
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1012
        record = await proxy.records.get()
    assert (record.closed_by, record.close_code) == ("proxy", 1012)


async def test_the_backend_of_a_drained_session_is_told_1001(mode: str) -> None:
    told: asyncio.Queue[int | None] = asyncio.Queue()

    async def script(wire: Wire) -> None:
        told.put_nowait((await wire.read_close())[0])

    async with (
        backend(after_handshake(script)) as there,
        proxying(there.url, mode=mode, grace=0.05) as proxy,
    ):
        wire = await proxy.open()
        shutdown = asyncio.create_task(proxy.server.shutdown())
        assert await told.get() == 1001
        wire.close_frame(*await wire.read_close())
        await shutdown


async def test_1012_waits_for_the_end_of_a_frame() -> None:
    half_sent, stopping = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        wire.write(b"\x82\x0a" + b"x" * 5)
        half_sent.set()
        await stopping.wait()
        wire.write(b"x" * 5 + b"\x82\x05never")
        await wire.rest()

    async with (
        backend(after_handshake(script)) as there,
        proxying(there.url, grace=0.05) as proxy,
    ):
        wire = await proxy.open()
        await half_sent.wait()
        assert await wire.reader.readexactly(7) == b"\x82\x0axxxxx"
        shutdown = asyncio.create_task(proxy.server.shutdown())
        assert await there.wires[0].read_close() == (1001, "")
        stopping.set()
        assert await wire.reader.readexactly(5) == b"xxxxx"
        wire.close_frame(*await wire.read_close())
        await shutdown


async def test_a_session_that_ignores_1012_is_cut(mode: str) -> None:
    async with (
        backend(after_handshake(silence)) as there,
        proxying(there.url, mode=mode, grace=0.05, webSocketCloseTimeout=0.05) as proxy,
    ):
        wire = await proxy.open()
        await proxy.server.shutdown()
        assert (await wire.read_close())[0] == 1012
        assert await wire.rest() == b""
        await there.wires[0].done.wait()


async def test_an_ended_session_is_one_record(mode: str) -> None:
    async with echo_backend() as there, proxying(there.url, mode=mode) as proxy:
        async with proxy.connect("/chat?room=1") as client:
            for _ in range(3):
                await client.send(b"x" * 1000)
                await client.recv()
            await client.close(4001, "done")
        record = await proxy.records.get()
        assert proxy.records.empty()
    assert (record.status, record.close_code, record.closed_by) == (101, 4001, "client")
    assert (record.messages_in, record.messages_out) == (3, 3)
    assert 3000 <= record.bytes_in <= 3100
    assert 3000 <= record.bytes_out <= 3100
    assert (record.target, record.backend, record.frontend) == (
        b"/chat?room=1",
        there.url,
        "ws.test",
    )


async def test_who_ended_a_session_is_told(mode: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.read_frame()
        wire.reset()

    async with backend(after_handshake(script)) as there, proxying(there.url, mode=mode) as proxy:
        wire = await proxy.open()
        wire.frame(Opcode.TEXT, b"go")
        await wire.read_close()
        wire.reset()
        record = await proxy.records.get()
    assert record.closed_by == "backend"
    assert record.close_code in (1006, 1014)


async def test_a_refused_handshake_is_a_record_with_its_status(mode: str) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    async with proxying(dead, mode=mode, retryOnError=0) as proxy:
        wire = await proxy.ask()
        await wire.rest()
        record = await proxy.records.get()
    assert (record.status, record.attempts) == (502, 1)
    assert "cannot connect" in record.error


async def test_an_ended_session_is_not_counted_as_a_connection(mode: str) -> None:
    async with echo_backend() as there, proxying(there.url, mode=mode) as proxy:
        async with proxy.connect():
            assert len(proxy.edge.connections) == 1
        await proxy.records.get()
        assert (proxy.edge.connections, proxy.edge.by_address) == (set(), {})
        assert proxy.server.server_state.connections == set()


async def test_200_sessions_at_once_end_at_a_drain(mode: str) -> None:
    async with echo_backend() as there, proxying(there.url, mode=mode, grace=0.05) as proxy:
        clients = [await proxy.connect() for _ in range(200)]
        for client in clients:
            await client.send("hello")
        assert [await client.recv() for client in clients] == ["hello"] * 200
        await proxy.server.shutdown()
        await asyncio.gather(*(client.wait_closed() for client in clients))
        assert {client.close_code for client in clients} == {1012}


async def test_the_kernel_looks_after_silent_ends(mode: str) -> None:
    async with echo_backend() as there, proxying(there.url, mode=mode) as proxy, proxy.connect():
        (session,) = proxy.endpoint._live
        backend_side = session.leg if mode == "relay" else session.backend
        (client_side,) = proxy.server.server_state.connections
        for protocol in (client_side, backend_side):
            sock = protocol.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
