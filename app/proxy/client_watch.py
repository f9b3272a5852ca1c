"""Ends a request whose client has gone away, under any ASGI server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from starlette.types import Receive


class ClientConnection(Protocol):
    """The scope extension `hipache.connection` of our own server (app.server.exchange)."""

    task: asyncio.Task[None] | None
    """The application's task."""
    asks_debug: bool
    """Whether the request has an `X-Debug`."""
    refused: tuple[int, str] | None
    """Status and reason, if the server ended the request because of its body."""

    def on_disconnect(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the client goes away before its answer is complete."""

    def cut(self) -> None:
        """End the client's connection so that the client sees an unfinished answer.

        Another server does that itself when the application returns before its
        last message.
        """


class ClientWatch:
    """Calls `leave` once the client is gone. `stop` it when the answer is complete.

    For servers without a ClientConnection: a task waits in `receive`, but only once the
    body is read; until then the body's reader learns of the disconnect.
    """

    __slots__ = ("_leave", "_receive", "_task")

    def __init__(self, receive: Receive, leave: Callable[[], None]) -> None:
        self._receive = receive
        self._leave = leave
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """The body is complete: nothing else reads from `receive`."""
        self._task = asyncio.create_task(self._wait(), name="client watch")

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
