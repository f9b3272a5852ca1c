"""ServiceUpgrades of one supervisor: starts a successor, waits for it, and hands over or stays."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .sockets import ServiceSockets
from .successor import Successor

logger = logging.getLogger("hipache.supervisor")

READY_WITHIN = 90.0
"""Seconds from the start of a successor until all its workers must be ready."""
END_WITHIN = 5.0
"""Seconds more than its workers' grace that one that failed has to end."""


class ServiceUpgrades:
    """At most one is running. `handed_over` is set for good by the one that succeeds."""

    def __init__(
        self,
        program: Sequence[str] | None,
        sockets: ServiceSockets,
        selector: selectors.BaseSelector,
        *,
        gave_up_root: bool,
        on_ready: Callable[[Successor, Sequence[str]], bool],
        on_end: Callable[[], None],
        on_request: Callable[[str], None],
    ) -> None:
        """`program` is what to start; None: this process is not one that can be replaced.

        `on_ready` is called when the successor serves, with the names of the sockets that it
        took; it returns whether we could hand over. `on_end` is called when a failed one has
        gone, `on_request` when the one that took over wants us to stop or to reopen the logs.
        """
        self.handed_over = False
        self._program = program
        self._sockets = sockets
        self._selector = selector
        self._gave_up_root = gave_up_root
        self._on_ready = on_ready
        self._on_end = on_end
        self._on_request = on_request
        self._successor: Successor | None = None
        self._begun = 0
        self._failure: str | None = None

    @property
    def running(self) -> bool:
        """Whether a successor is starting, or a failed one has not ended yet."""
        return self._successor is not None and not self.handed_over

    def describe(self) -> dict[str, Any]:
        """What `hipache upgrade` waits for."""
        running = self._successor.pid if self._successor and self._failure is None else None
        return {"begun": self._begun, "pid": running, "failed": self._failure}

    def begin(self) -> None:
        """Start the program that is installed now, on our sockets."""
        if self._successor is not None:
            what = "this one has handed over" if self.handed_over else "one is running"
            logger.warning("upgrade ignored: %s already pid=%d", what, self._successor.pid)
            return
        self._begun += 1
        self._failure = None
        if self._program is None:
            self._failed("this command cannot be replaced while it runs")
            return
        if os.getpid() == 1:
            self._failed("process 1 cannot be replaced: its container would end with it")
            return
        try:
            successor = Successor.start(
                self._program, self._sockets.offer(), READY_WITHIN, gave_up_root=self._gave_up_root
            )
        except OSError as exc:  # no process, no file left
            self._failed(f"nothing can be started: {exc.strerror}")
            return
        logger.info("upgrade started pid=%d", successor.pid)
        self._successor = successor
        register = self._selector.register
        register(successor.channel.sock, selectors.EVENT_READ, self._heard)
        register(successor.stderr, selectors.EVENT_READ, self._wrote)

    def cancel(self, grace: float) -> None:
        """The service stops: so does a successor that has not taken over; twice: at once."""
        if self._successor is not None and not self.handed_over:
            self._failed("the service was told to stop")
            self._end(self._successor, grace)

    def exited(self, pid: int, exit_code: int) -> None:
        """A child has ended; it need not be the successor."""
        successor = self._successor
        if successor is None or pid != successor.pid:
            return
        if self.handed_over:
            logger.error("the successor has ended pid=%d", pid)
        else:
            self._failed(successor.why_ended(exit_code))
        self._successor = None
        for file in (successor.channel.sock, successor.stderr):
            if file in self._selector.get_map():
                self._selector.unregister(file)
        successor.close()
        if not self.handed_over:
            self._on_end()

    def close_in_child(self) -> None:
        """A worker that kept the channel would hide its end of file from the successor."""
        if self._successor is not None:
            self._successor.close()

    def deadlines(self) -> Iterator[float]:
        """When `tick` has something to do, on time.monotonic()."""
        if self._successor is not None and not self.handed_over:
            yield self._successor.deadline

    def tick(self, now: float, grace: float) -> None:
        """End a successor that takes too long; `grace` is what its workers have to drain."""
        successor = self._successor
        if successor is None or self.handed_over or now < successor.deadline:
            return
        if self._failure is None:
            self._failed(f"it was not ready within {READY_WITHIN:.0f} s")
            self._end(successor, grace)
        else:
            successor.signal(signal.SIGKILL)
            successor.deadline = float("inf")

    def _end(self, successor: Successor, grace: float) -> None:
        successor.signal(signal.SIGTERM)
        successor.deadline = time.monotonic() + grace + END_WITHIN if grace else float("inf")

    def _failed(self, why: str) -> None:
        if self._failure is None:
            self._failure = why
            logger.error("upgrade failed, this version stays cause=%s", why)

    def _heard(self) -> None:
        assert self._successor is not None
        messages = self._successor.channel.receive()
        if messages is None:
            self._selector.unregister(self._successor.channel.sock)
            return  # SIGCHLD tells the rest
        for message in messages:
            match message.get("say"):
                case "ready" if self._failure is None:
                    self.handed_over = self._on_ready(self._successor, message["taken"])
                    if not self.handed_over:
                        self._failed("systemd does not take the new main process")
                        self._end(self._successor, 0.0)
                case "failed":
                    self._failed(message["why"])
                    self._successor.deadline = float("inf")  # it ends, as gracefully as it must
                case "stop" | "reopen" as request if self.handed_over:
                    self._on_request(request)

    def _wrote(self) -> None:
        assert self._successor is not None
        if self._successor.read_stderr() == b"":
            self._selector.unregister(self._successor.stderr)
