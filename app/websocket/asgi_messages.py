"""The client's leg of a relayed WebSocket: messages between uvicorn's queue and the frames."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.protocol import OPEN

from .frames import MAX_UNREAD, MESSAGE_COST
from .held_messages import NO_MEMORY, TRY_AGAIN_LATER, HeldMessages
from .read_budget import FairReader, ReadBudget
from .server_frames import ServerFrames

logger = logging.getLogger(__name__)


class MessageProtocol(HeldMessages, FairReader, WebSocketsSansIOProtocol):
    """The stock class with bounded memory, fewer writes and no traceback for a client's fault."""

    def __init__(self, *args: Any, budget: ReadBudget, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.budget = budget
        self.logger = logger
        self.flushing = False
        self.waiting = 0  # what the unread messages count for
        self.in_hand = 0  # what those that were read last count for, until they were sent on

    def frames_of(self, kind: type[ServerFrames]) -> ServerFrames:
        return kind(
            extensions=self.conn.available_extensions,
            max_size=self.config.ws_max_size or None,
            logger=logger,
        )

    def is_full(self) -> bool:
        return self.read_paused

    def take(self, data: bytes) -> None:
        WebSocketsSansIOProtocol.data_received(self, data)
        self.count_held()

    def held_size(self) -> int:
        begun = len(self.frames[0]) if self.frames else 0
        return len(self.conn.reader.buffer) + begun + self.waiting + self.in_hand

    def refuse_more(self) -> None:
        self.frames = []
        if not self.close_sent:
            self.conn.fail(TRY_AGAIN_LATER, NO_MEMORY)
            self.handle_parser_exception()

    def handle_cont(self, event: Frame) -> None:
        """Join as it comes: a list of a million fragments would be far larger than their bytes."""
        if isinstance(self.frames[0], bytes):
            self.frames = [bytearray(self.frames[0])]  # type: ignore[list-item]
        self.frames[0] += event.data
        if event.fin:
            self.send_receive_event_to_app()

    def send_receive_event_to_app(self) -> None:
        """As the stock class, but without a traceback where a client is at fault."""
        data, self.frames = bytes(self.frames[0]), []
        if self.close_sent:
            return  # no one will read it, and the answer to our close frame is still to come
        message: ASGIReceiveEvent
        if self.curr_msg_data_type == "bytes":
            message = {"type": "websocket.receive", "bytes": data}
        else:
            try:
                message = {"type": "websocket.receive", "text": str(data, "utf-8")}
            except UnicodeDecodeError:
                self.conn.fail(1007, "invalid UTF-8")
                self.handle_parser_exception()
                return
        self.queue.put_nowait(message)
        self.waiting += len(data) + MESSAGE_COST
        if self.waiting > MAX_UNREAD and not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    async def receive(self) -> ASGIReceiveEvent:
        if self.in_hand:
            self.in_hand = 0
            self.count_held()
        message = await self.queue.get()
        if self.queue.empty():  # the stock class stops and starts reading for each message
            self.in_hand, self.waiting = self.waiting, 0
            if self.read_paused:
                self.read_paused = False
                self.transport.resume_reading()
        return message

    def keepalive_timeout(self) -> None:
        """No pong in time. It may wait behind messages that the backend is slow to take."""
        if self.read_paused:
            self.pong_timer = self.loop.call_later(self.ping_interval or 20, self.keepalive_timeout)
        else:
            super().keepalive_timeout()

    async def send_message(self, message: MutableMapping[str, Any]) -> None:
        """As the stock class, but one write for all messages of one turn of the loop."""
        if not self.writable.is_set():
            await self.writable.wait()
        if self.disconnected or self.close_sent or self.conn.state is not OPEN:
            raise ClientDisconnected
        data = message.get("bytes")
        if data is not None:
            self.conn.send_binary(data)
        else:
            data = message["text"].encode()
            self.conn.send_text(data)
        if not self.flushing:
            self.flushing = True
            self.loop.call_soon(self._flush)
        if len(data) > MAX_UNREAD:
            self._flush()  # now, so that it is known whether the client takes it
            await self.writable.wait()

    def _flush(self) -> None:
        self.flushing = False
        if output := self.conn.data_to_send():
            self.transport.write(b"".join(output))
