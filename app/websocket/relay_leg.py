"""The backend's leg of a relayed WebSocket: whole messages in, whole messages out."""

from __future__ import annotations

import asyncio
import os
from collections import deque

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN

from ..config.structs import ServerConfig
from ..system.held_memory import HeldBytes
from .frames import ABNORMAL, BAD_GATEWAY, MAX_UNREAD, MESSAGE_COST, NO_CODE, sendable
from .held_messages import NO_MEMORY, TRY_AGAIN_LATER, HeldMessages
from .read_budget import FairReader, ReadBudget
from .tcp_keep_alive import keep_alive


class RelayLeg(HeldMessages, FairReader, asyncio.Protocol):
    """A connection on which the handshake is done and `frames` speaks.

    Reading pauses behind MAX_UNREAD of unread messages, `send` waits while the backend
    does not read: the slower side sets the pace. A backend that was silent for
    the whole of `webSocketPing` after a ping is gone. After a close frame it has
    `webSocketCloseTimeout` to answer and to close the connection. Where `held` has no room
    for what has come of a message, 1013 ends the session.
    """

    def __init__(
        self, frames: ClientProtocol, config: ServerConfig, budget: ReadBudget, held: HeldBytes
    ) -> None:
        self.budget = budget
        self.held = held
        self.held_for_client = held.another()
        self._in_hand = 0  # what the last message counts for until `receive` is called again
        self._loop = asyncio.get_running_loop()
        self._frames = frames
        self._ping = config.web_socket_ping
        self._close_timeout = config.web_socket_close_timeout
        self._messages: deque[str | bytes] = deque()
        self._waiting = 0  # bytes that `_messages` count for
        self._joined = bytearray()
        self._text = False
        self._paused = False
        self._flushing = False
        self._heard = True
        self._ended = False
        self._wanted: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._keepalive: asyncio.TimerHandle | None = None
        self.code = ABNORMAL
        """What to tell the client once `receive` returned None."""
        self.reason = ""
        self.closed = self._loop.create_future()
        """Done when the connection is gone."""

    @property
    def subprotocol(self) -> str | None:
        """What the backend chose."""
        return self._frames.subprotocol

    def abort(self) -> None:
        """Cut the connection."""
        self.transport.abort()

    def take_over(self, transport: asyncio.Transport, first: bytes) -> None:
        """Go on with a connection that has switched and is paused; `first` has come already."""
        self.transport = transport
        transport.set_protocol(self)
        keep_alive(transport)
        if transport.is_closing():
            self.connection_lost(None)
            return
        transport.resume_reading()
        if first:
            self.data_received(first)
        if self._ping:
            self._keepalive = self._loop.call_later(self._ping, self._keep_alive)

    async def receive(self) -> str | bytes | None:
        """The next message, None at the end: `code` and `reason` say why it ended."""
        if self._in_hand:
            self._in_hand = 0
            self.count_held()
        while not self._messages:
            if self._ended:
                return None
            self._wanted = self._loop.create_future()
            await self._wanted
        message = self._messages.popleft()
        self._in_hand = len(message) + MESSAGE_COST
        self._waiting -= self._in_hand
        if self._paused and self._waiting <= MAX_UNREAD:
            self._paused = False
            self.transport.resume_reading()
        return message

    async def send(self, message: str | bytes) -> None:
        """Send one message, at the backend's pace; once the backend has closed, drop it."""
        frames = self._frames
        if frames.state is not OPEN:
            return
        if isinstance(message, str):
            frames.send_text(message.encode())
        else:
            frames.send_binary(message)
        if not self._flushing:  # one write for all messages of one turn of the loop
            self._flushing = True
            self._loop.call_soon(self._flush)
        if len(message) > MAX_UNREAD:
            self._flush()  # now, so that it is known whether the backend takes it
        if self._writable is not None:
            await self._writable

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake; 1005 sends no code, 1006 just cuts.

        `closed` is done `close_timeout` later at the latest.
        """
        if code == ABNORMAL:
            self.abort()
        elif self._frames.state is OPEN:
            if code == NO_CODE:
                self._frames.send_close()
            else:
                self._frames.send_close(sendable(code), reason)
            self._end(code, reason)
            self._flush()

    def is_full(self) -> bool:
        return self._paused

    def take(self, data: bytes) -> None:
        self._heard = True
        frames = self._frames
        frames.receive_data(data)
        for event in frames.events_received():
            if isinstance(event, Frame):
                self._take(event)
        self._flush()
        if frames.parser_exc is not None and not self._ended:
            # The backend broke the protocol or the limit: the client is told of a bad gateway.
            self._end(BAD_GATEWAY, "")
        self.count_held()

    def held_size(self) -> int:
        return len(self._frames.reader.buffer) + len(self._joined) + self._waiting + self._in_hand

    def refuse_more(self) -> None:
        self._joined.clear()
        self._frames.fail(TRY_AGAIN_LATER, NO_MEMORY)
        self._end(TRY_AGAIN_LATER, NO_MEMORY)
        self._flush()

    def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            close = self._frames.close_rcvd
            assert close is not None
            self._end(close.code, close.reason)
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if frame.opcode is not Opcode.CONT:
                self._text = frame.opcode is Opcode.TEXT
            if frame.fin and not self._joined:
                self._message(bytes(frame.data))
            else:  # joined as they come: a list of a million would be far larger than their bytes
                self._joined += frame.data
                if frame.fin:
                    data, self._joined = bytes(self._joined), bytearray()
                    self._message(data)

    def _message(self, data: bytes) -> None:
        if self._ended:
            return
        try:
            message = data.decode() if self._text else data
        except UnicodeDecodeError:
            self._frames.fail(1007, "invalid UTF-8")
            self._end(BAD_GATEWAY, "")
            return
        self._messages.append(message)
        self._waiting += len(message) + MESSAGE_COST
        self._wake()
        if self._waiting > MAX_UNREAD and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def _end(self, code: int, reason: str) -> None:
        """Nothing more comes for the client; the connection itself may need a moment."""
        if self._ended:
            return
        self._ended = True
        self.code, self.reason = code, reason
        self.transport.resume_reading()
        if self._close_timeout:
            self._timer = self._loop.call_later(self._close_timeout, self.transport.abort)
        self._wake()

    def _flush(self) -> None:
        self._flushing = False
        output = self._frames.data_to_send()
        if output:
            self.transport.write(b"".join(output))
        if output and not output[-1] and self.transport.can_write_eof():
            self.transport.write_eof()

    def _keep_alive(self) -> None:
        if not self._heard and not self._paused:
            self._frames.fail(1011, "keepalive ping timeout")
            self._end(BAD_GATEWAY, "")
            self._flush()
            return
        self._heard = False
        if self._frames.state is OPEN:
            self._frames.send_ping(os.urandom(4))
            self._flush()
            self._keepalive = self._loop.call_later(self._ping, self._keep_alive)

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def eof_received(self) -> None:
        self.take_all()
        self._frames.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.take_all()
        self._end(BAD_GATEWAY, "")
        self.release_held()
        for timer in (self._timer, self._keepalive):
            if timer is not None:
                timer.cancel()
        self.resume_writing()
        if not self.closed.done():
            self.closed.set_result(None)

    def _wake(self) -> None:
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)
