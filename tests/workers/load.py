"""Clients that ask without a pause, and note everything that goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.server.serving import Client, raw


class Load:
    """What its clients saw."""

    def __init__(self) -> None:
        self.answered = 0
        self.faults: list[str] = []

    async def ask(self, port: int) -> None:
        """Requests on a kept connection, and on another one when the proxy closes it."""
        while True:
            try:
                await self._ask_on(await raw(port))
            except (OSError, EOFError) as exc:
                self.faults.append(repr(exc))
                await asyncio.sleep(0.01)

    async def _ask_on(self, client: Client) -> None:
        try:
            last = False
            while not last:
                client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
                status, head, body = await client.response()
                if (status, body) != (200, b"hi"):
                    self.faults.append(f"{status} {body!r}")
                self.answered += 1
                last = b"connection: close" in head.lower()
        finally:
            client.writer.close()
            with suppress(OSError):
                await client.writer.wait_closed()

    async def more(self, requests: int) -> None:
        """Until so many more were answered."""
        wanted = self.answered + requests
        while self.answered < wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@asynccontextmanager
async def load(port: int, clients: int) -> AsyncIterator[Load]:
    """So many clients ask while this is open."""
    seen = Load()
    tasks = [asyncio.create_task(seen.ask(port)) for _ in range(clients)]
    try:
        yield seen
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
