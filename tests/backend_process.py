"""A backend in a process of its own, for tests that kill it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"content-length: 4" in head.lower():
                await reader.readexactly(4)
            writer.write(ANSWER)
            await writer.drain()
    except (EOFError, ConnectionError):
        writer.close()


async def main(port: int) -> None:
    """Answer everything, for ever; prints the port when it listens."""
    server = await asyncio.start_server(_serve, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class BackendProcess:
    """One that can be killed, and started again on the same port."""

    port = 0
    _process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, str(self.port), stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.port = int(await self._process.stdout.readline())

    async def kill(self) -> None:
        """kill -9"""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None


@asynccontextmanager
async def backend_process() -> AsyncIterator[BackendProcess]:
    """A running one."""
    backend = BackendProcess()
    await backend.start()
    try:
        yield backend
    finally:
        await backend.kill()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
