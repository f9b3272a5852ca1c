"""What systemd wants to know of a service (sd_notify(3)); nothing where it does not ask."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

NOTIFY_TIMEOUT = 0.2
"""Seconds that systemd gets to read: a supervisor must not hang on it."""
HAND_OVER_TIMEOUT = 5.0
"""The same for the one message that must not be lost."""


class Notifier:
    """Tells systemd about the service's state, and that it lives."""

    def __init__(self, environ: Mapping[str, str], *, main: bool = True) -> None:
        """`main`: systemd hears this process. A successor is not heard until it takes over."""
        self._main = main
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        micros = environ.get("WATCHDOG_USEC", "") if ours else ""
        self._interval = int(micros) / 2e6 if micros.isdigit() else 0.0
        self._alive_at = 0.0
        self._ready = False

    def ready(self) -> None:
        """Once: what was promised to start is serving."""
        if not self._ready and self._main:
            self._ready = True
            self._send("READY=1")

    def reloading(self, now: float) -> None:
        """A reload begins; `ready` ends it. `now` is CLOCK_MONOTONIC, seconds."""
        self._ready = False
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(now * 1e6)}")

    def stopping(self) -> None:
        """What runs is being finished."""
        self._send("STOPPING=1")

    def alive(self, now: float) -> None:
        """Call often; tells as often as systemd wants to hear it (WatchdogSec=)."""
        if self._main and self._interval and now - self._alive_at >= self._interval:
            self._alive_at = now
            self._send("WATCHDOG=1")

    def hand_over(self, pid: int) -> bool:
        """From now on `pid` is the service's main process: systemd hears it in our place.

        It must come from us: by `NotifyAccess=main`, the default, nobody else is heard.
        False where systemd did not take it: it would end the service when we end.
        """
        self._main = not self._send(f"MAINPID={pid}", HAND_OVER_TIMEOUT)
        return not self._main

    def take_over(self) -> None:
        """The predecessor has named this process as the main one."""
        self._main = True

    def _send(self, message: str, timeout: float = NOTIFY_TIMEOUT) -> bool:
        """False where somebody wants to hear it and cannot."""
        if not self._address or not self._main:
            return True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(timeout)
                sock.connect(self._address)
                sock.send(message.encode())
        except OSError:
            return False
        return True
