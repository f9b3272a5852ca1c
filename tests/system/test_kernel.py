"""What the kernel says of connections, closed ones included."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.system import kernel

MIB = 1 << 20


async def test_a_closed_socket_is_at_its_end() -> None:
    async with to_one_that_reads_nothing() as transport:
        transport.write(bytes(64 * MIB))
        assert kernel.unacknowledged(transport) > 32 * MIB
        assert not kernel.readable(transport)
        sock = transport.get_extra_info("socket")
        transport.abort()
        while sock.fileno() != kernel.CLOSED:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert kernel.unacknowledged(transport) == 0
        assert kernel.readable(transport)
        assert list(kernel.unread(transport)) == []


@asynccontextmanager
async def to_one_that_reads_nothing() -> AsyncIterator[asyncio.Transport]:
    loop = asyncio.get_running_loop()
    there: asyncio.Future[asyncio.Transport] = loop.create_future()

    class Deaf(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transport.pause_reading()
            there.set_result(transport)

    server = await loop.create_server(Deaf, "127.0.0.1", 0)
    here, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
    try:
        yield here
    finally:
        here.abort()
        (await there).abort()
        server.close()
        await server.wait_closed()
