"""Ends a request whose client has gone away, under any ASGI server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import Receive, Scope


class ClientWatch:
    """Calls `leave` once the client is gone. `stop` it when the answer is complete.

    Our own server tells by a callback. Under another one a task has to wait in
    `receive`, and only once the body is read: until then whoever reads it
    learns of the disconnect.
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


def is_told(scope: Scope, leave: Callable[[], None]) -> bool:
    """Whether the server of `scope` itself calls `leave`; then no ClientWatch is needed."""
    connection = scope.get("extensions", {}).get("hipache.connection")
    if connection is None:
        return False
    connection.on_disconnect(leave)
    return True


def cut(scope: Scope) -> None:
    """End the client's connection so that it sees an unfinished answer.

    A server without our extension does that by itself when the application
    returns before its last message.
    """
    connection = scope.get("extensions", {}).get("hipache.connection")
    if connection is not None:
        connection.cut()
