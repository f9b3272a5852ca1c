"""The supervisor whose place this one takes: the other end of `successor`."""

from __future__ import annotations

import logging
import os
import selectors
import socket
from collections.abc import Callable, MutableMapping

import msgspec

from ..errors import ConfigError
from .process import ControlChannel
from .sockets import ServiceSockets
from .successor import STDERR, VARIABLE, Invitation

logger = logging.getLogger("hipache.supervisor")


class Predecessor:
    """Serves until it hands over, and drains then."""

    def __init__(self, invitation: Invitation) -> None:
        self.pid = os.getppid()
        self.channel = ControlChannel(socket.socket(fileno=invitation.channel))
        self.channel.sock.set_inheritable(False)
        self.offers = invitation.sockets
        self.gave_up_root = invitation.gave_up_root
        self.handed_over = False
        """Whether we are the service now, and it drains or is gone."""
        self.gone = False
        self._stderr = invitation.stderr

    @classmethod
    def of(cls, environ: MutableMapping[str, str]) -> Predecessor | None:
        """The one that started this process as its successor, if any. Raises ConfigError."""
        text = environ.pop(VARIABLE, None)
        if text is None:
            return None
        try:
            return cls(msgspec.json.decode(text, type=Invitation))
        except (msgspec.DecodeError, OSError) as exc:
            raise ConfigError(f"${VARIABLE}: {exc}") from None

    def use_own_stderr(self) -> None:
        """Until now it read along, to learn why we could not start."""
        os.dup2(self._stderr, STDERR)
        os.close(self._stderr)

    def watch(self, selector: selectors.BaseSelector, on_take_over: Callable[[bool], None]) -> None:
        """Call `on_take_over` when it hands over; it gets whether a reload was asked for."""

        def heard() -> None:
            messages = self.channel.receive()
            if messages is None:
                selector.unregister(self.channel.sock)
                self.gone = True
                if not self.handed_over:
                    logger.error("the predecessor is gone before it handed over pid=%d", self.pid)
                    messages = [{"do": "take over", "reload": False}]
            for message in messages or ():
                if message.get("do") == "take over":
                    self.handed_over = True
                    on_take_over(message["reload"])

        selector.register(self.channel.sock, selectors.EVENT_READ, heard)

    @property
    def draining(self) -> bool:
        """Whether it has handed over and still finishes what runs."""
        return self.handed_over and not self.gone

    def ready(self, sockets: ServiceSockets) -> None:
        """All workers serve: it may hand over."""
        if not self.handed_over:
            self.channel.send(say="ready", taken=sockets.taken)

    def failed(self, why: str) -> None:
        """We cannot serve: it has to stay."""
        self.channel.send(say="failed", why=why)

    def stop(self) -> None:
        """If it drains still, it has to stop within its grace; a second time: at once."""
        if self.draining:
            self.channel.send(say="stop")

    def reopen_logs(self) -> None:
        """Its workers write logs until they have drained."""
        if self.draining:
            self.channel.send(say="reopen")

    def close(self) -> None:
        self.channel.sock.close()
