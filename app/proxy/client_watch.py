"""Ends a request whose client has gone away, under any ASGI server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import Receive


class ClientWatch:
    """Calls `client_gone` once the client is gone. `stop` it when the answer is complete.

    For servers whose scope has no Exchange of ours: a task waits in `receive`, but only once the
    body is read; until then the body's reader learns of the disconnect.
    """

    __slots__ = ("_client_gone", "_receive", "_task")

    def __init__(self, receive: Receive, client_gone: Callable[[], None]) -> None:
        self._receive = receive
        self._client_gone = client_gone
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """The body is complete: nothing else reads from `receive`."""
        self._task = asyncio.create_task(self._wait(), name="client watch")

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._client_gone()

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
