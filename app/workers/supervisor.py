"""The process above the workers: signals, its status, and what systemd is told.

It has one thread and no event loop, so that forking is safe at any time; it serves
nothing itself.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import time
from collections.abc import Callable

from .generation import Generation
from .process import exited_children
from .signal_socket import SignalSocket
from .status import StatusSocket
from .systemd import Notifier
from .worker_pool import WorkerPool

logger = logging.getLogger("hipache.supervisor")

HANDLED = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1,
    signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD,
)  # fmt: skip


class Supervisor:
    """One per `hipache serve`. `reload` returns the new generation, or None to keep the old."""

    def __init__(
        self,
        generation: Generation,
        *,
        reload: Callable[[], Generation | None],
        on_stop: Callable[[], None] = lambda: None,
        status: StatusSocket | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        """`status` answers who asks about the workers, `notifier` tells systemd.

        `on_stop` closes the listeners when the service begins to stop: as long as one
        process holds them, the kernel takes connections that nobody will serve.
        """
        self._reload = reload
        self._on_stop = on_stop
        self._status = status
        self._notifier = notifier or Notifier({})
        self._stopping = False
        self._selector = selectors.DefaultSelector()
        self._signals = SignalSocket(HANDLED)
        self._selector.register(self._signals.sock, selectors.EVENT_READ, self._signalled)
        if status is not None:
            self._selector.register(status.sock, selectors.EVENT_READ, self._answer)
        self._workers = WorkerPool(
            generation,
            self._selector,
            close_in_child=self._close_in_child,
            on_complete=self._notifier.ready,
        )

    def run(self) -> int:
        """Serve until told to stop; returns the exit status."""
        self._workers.start()
        try:
            while self._workers or not self._stopping:
                self._wait(self._until_next_deadline())
                now = time.monotonic()
                self._notifier.alive(now)
                self._workers.tick(now)
        finally:
            self._workers.kill()
            if self._status is not None:
                self._status.close()
        logger.info("stopped")
        return 0

    def _close_in_child(self) -> None:
        self._selector.close()
        self._signals.close()
        if self._status is not None:
            self._status.sock.close()

    def _wait(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            key.data()
        for pid, exit_code in exited_children():
            self._workers.exited(pid, exit_code)

    def _until_next_deadline(self) -> float:
        now = time.monotonic()
        return max(0.0, min(now + 1.0, *self._workers.deadlines()) - now)

    def _answer(self) -> None:
        assert self._status is not None
        self._status.answer({
            "state": "stopping" if self._stopping else "serving",
            "pid": os.getpid(),
            "workers": self._workers.describe(),
        })  # fmt: skip

    def _signalled(self) -> None:
        for signum in self._signals.read():
            match signum:
                case signal.SIGTERM | signal.SIGINT:
                    self._stop()
                case signal.SIGHUP:
                    self._roll()
                case signal.SIGUSR1:
                    for worker in self._workers:
                        worker.kill(signal.SIGUSR1)
                case signal.SIGTTIN:
                    self._workers.grow()
                case signal.SIGTTOU:
                    self._workers.shrink()

    def _stop(self) -> None:
        if self._stopping:
            logger.warning("stopping at once workers=%d", len(self._workers))
            self._workers.kill()
            return
        self._stopping = True
        self._notifier.stopping()
        self._on_stop()
        self._workers.stop(self._workers.patience.graceful_timeout, "stop")

    def _roll(self) -> None:
        """Replace every worker in turn by one of the configuration as it is now."""
        generation = None if self._stopping else self._reload()
        if generation is not None:
            self._notifier.reloading(time.monotonic())
            self._workers.roll(generation)
