"""A WebSocket as ASGI messages: one pump each way, and one ending for both.

It serves under any ASGI server, and where a middleware wants to see the messages. Text
stays text, binary stays binary.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.types import Message, Receive, Send

from .frames import ABNORMAL, GOING_AWAY, LAST_WORDS, NO_CODE, SERVICE_RESTART, sendable
from .idle_watch import IdleWatch
from .relay_leg import RelayLeg


@dataclass(slots=True)
class Traffic:
    """The messages that went one way."""

    messages: int = 0
    size: int = 0
    """Payload: bytes of binary messages, characters of text."""

    def count(self, message: str | bytes) -> None:
        self.messages += 1
        self.size += len(message)


class Relay:
    """One session. `closed_by` is `client`, `backend` or `proxy`, `close_code` the code it sent."""

    def __init__(
        self,
        first: asyncio.Future[Message],
        receive: Receive,
        send: Send,
        leg: RelayLeg,
        *,
        idle_timeout: float,
        exact: bool,
    ) -> None:
        """`leg` is not yet connected; `idle_timeout` in seconds, 0 = none."""
        self._first = first  # a receive() that has begun already
        self._receive = receive
        self._send = send
        self.leg = leg
        self._idle_timeout = idle_timeout
        self._exact = exact  # the server can close without a code, as a backend may
        loop = asyncio.get_running_loop()
        self._stop: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._last_words = 0
        self.from_client = Traffic()
        self.from_backend = Traffic()
        self.close_code = ABNORMAL
        self.closed_by = ""

    async def run(self) -> None:
        """Relay until both ends are closed. A cancellation ends it with 1012 first."""
        watch: IdleWatch | None = None
        if self._idle_timeout:
            watch = IdleWatch(self._idle_timeout, self._count_messages, self._idle)
        try:
            await self._pump()
            if not self.closed_by:
                await self._say_goodbye()
            await asyncio.shield(self.leg.closed)
        finally:
            if watch is not None:
                watch.stop()
            self.ended.set_result(None)

    async def _pump(self) -> None:
        """Until one side has ended, or `close` is called."""
        up = asyncio.create_task(self._pump_up(), name="client->backend")
        down = asyncio.create_task(self._pump_down(), name="backend->client")
        try:
            await asyncio.wait({up, down, self._stop}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.close(SERVICE_RESTART)  # so uvicorn says that the grace is over
        finally:
            for pump in (up, down):
                pump.cancel()
            results = await asyncio.gather(up, down, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    def close(self, code: int) -> None:
        """End behind the message under way: `code` to the client, 1001 to the backend."""
        if not self._stop.done():
            self._last_words = code
            self._stop.set_result(None)

    def abort(self) -> None:
        """Cut the backend's connection now; the client's goes with it."""
        self.leg.abort()

    async def _pump_up(self) -> None:
        message = await self._first
        while True:
            if message["type"] == "websocket.disconnect":
                code = message.get("code") or NO_CODE
                self._ended("client", code)
                self.leg.close(code, message.get("reason") or "")
                return
            text = message.get("text")
            data: str | bytes = text if text is not None else message["bytes"]
            self.from_client.count(data)
            await self.leg.send(data)
            message = await self._receive()

    async def _pump_down(self) -> None:
        while (data := await self.leg.receive()) is not None:
            self.from_backend.count(data)
            await self._to_client(
                {"type": "websocket.send", "text" if isinstance(data, str) else "bytes": data}
            )
        code = self.leg.code
        self._ended("backend", code)
        if code != NO_CODE or not self._exact:
            code = sendable(code)
        await self._to_client({"type": "websocket.close", "code": code, "reason": self.leg.reason})

    async def _to_client(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError:  # gone (ASGI, Disconnected Client - send Exception)
            if self.closed_by:
                self.leg.transport.close()  # its last messages may still be on their way
            else:
                self._ended("client", ABNORMAL)
                self.leg.abort()

    async def _say_goodbye(self) -> None:
        code = self._last_words
        self._ended("proxy", code)
        self.leg.close(GOING_AWAY)
        try:
            async with asyncio.timeout(LAST_WORDS):
                await self._to_client({"type": "websocket.close", "code": code})
                await asyncio.shield(self.leg.closed)  # else the timeout would cancel it
        except TimeoutError:
            self.leg.abort()

    def _ended(self, who: str, code: int) -> None:
        if not self.closed_by:
            self.closed_by, self.close_code = who, code

    def _idle(self) -> None:
        self.close(GOING_AWAY)

    def _count_messages(self) -> int:
        return self.from_client.messages + self.from_backend.messages
