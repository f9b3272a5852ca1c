"""The process above the workers: signals, its status, and what systemd is told.

It has one thread and no event loop, so that forking is safe at any time; it serves nothing.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import time
from collections.abc import Callable, Sequence

from ..system.release import version
from .generation import Generation
from .predecessor import Predecessor
from .process import exited_children
from .signal_socket import SignalSocket
from .sockets import ServiceSockets
from .status import StatusSocket
from .successor import Successor
from .systemd import Notifier
from .upgrades import ServiceUpgrades
from .worker_pool import WorkerPool

logger = logging.getLogger("hipache.supervisor")

HANDLED = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
    signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD,
)  # fmt: skip


class Supervisor:
    """One per `hipache serve`. `reload` returns the new generation, or None to keep the old."""

    def __init__(
        self,
        generation: Generation,
        sockets: ServiceSockets,
        *,
        reload: Callable[[], Generation | None],
        on_stop: Callable[[], None],
        status: StatusSocket | None,
        notifier: Notifier,
        program: Sequence[str] | None = None,
        predecessor: Predecessor | None = None,
        gave_up_root: bool = False,
    ) -> None:
        """`status` answers who asks about the workers, `notifier` tells systemd.

        `on_stop` closes the listeners when the service begins to stop: as long as one
        process holds them, the kernel takes connections that nobody will serve. `program`
        is what an upgrade starts; `predecessor` is the supervisor that started us for one.
        """
        self._sockets = sockets
        self._reload = reload
        self._on_stop = on_stop
        self._status = status
        self._notifier = notifier
        self._predecessor = predecessor
        self._version = version()  # now: the files may be another version's later
        self._stopping = False
        self._reload_wanted = False
        self._selector = selectors.DefaultSelector()
        self._signals = SignalSocket(HANDLED)
        self._selector.register(self._signals.sock, selectors.EVENT_READ, self._signalled)
        self._workers = WorkerPool(
            generation, self._selector, close_in_child=self._close_in_child,
            on_complete=self._complete, on_death=self._died,
        )  # fmt: skip
        self._upgrades = ServiceUpgrades(
            program, sockets, self._selector, gave_up_root=gave_up_root,
            on_ready=self._hand_over, on_end=self._upgrade_ended, on_request=self._requested,
        )  # fmt: skip
        if predecessor is not None:
            predecessor.watch(self._selector, self._take_over)
        else:
            self._watch_status()

    def run(self) -> int:
        """Serve until told to stop; returns the exit status."""
        self._workers.start()
        try:
            while not self._done:
                self._wait(self._until_next_deadline())
                now = time.monotonic()
                self._notifier.alive(now)
                self._workers.tick(now)
                self._upgrades.tick(now, self._workers.patience.graceful_timeout)
        finally:
            self._workers.kill()
            if self._status is not None:
                self._status.close()
        logger.info("stopped")
        return 0

    @property
    def _done(self) -> bool:
        if self._workers or self._upgrades.running:
            return False
        if self._predecessor is not None and self._predecessor.draining:
            return False  # it is stopped through us
        return self._stopping or self._upgrades.handed_over

    def _watch_status(self) -> None:
        if self._status is not None:
            self._selector.register(self._status.sock, selectors.EVENT_READ, self._answer)

    def _close_in_child(self) -> None:
        self._selector.close()
        self._signals.close()
        self._upgrades.close_in_child()
        if self._predecessor is not None:
            self._predecessor.close()
        if self._status is not None:
            self._status.sock.close()

    def _wait(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            if self._selector.get_map().get(key.fd) is key:  # else one before it has ended it
                key.data()
        for pid, exit_code in exited_children():
            self._workers.exited(pid, exit_code)
            self._upgrades.exited(pid, exit_code)

    def _until_next_deadline(self) -> float:
        now = time.monotonic()
        due = [now + 1.0, *self._workers.deadlines(), *self._upgrades.deadlines()]
        return max(0.0, min(due) - now)

    def _answer(self) -> None:
        before = self._predecessor
        assert self._status is not None
        self._status.answer({
            "state": "stopping" if self._stopping else "serving",
            "pid": os.getpid(),
            "version": self._version,
            **self._workers.describe(),
            "upgrade": self._upgrades.describe(),
            "predecessor": before.pid if before is not None and before.draining else None,
        })  # fmt: skip

    # Signals

    def _signalled(self) -> None:
        for signum in self._signals.read():
            match signum:
                case signal.SIGTERM | signal.SIGINT:
                    self._stop()
                case signal.SIGUSR1:
                    self._reopen_logs()
                case _ if not self._main:
                    pass  # nothing is started here any more, or not yet
                case signal.SIGUSR2:
                    self._upgrades.begin()
                case signal.SIGHUP:
                    self._roll()
                case signal.SIGTTIN:
                    self._workers.grow()
                case signal.SIGTTOU:
                    self._workers.shrink()

    def _stop(self) -> None:
        if self._predecessor is not None:
            self._predecessor.stop()
        grace = self._workers.patience.graceful_timeout
        self._upgrades.cancel(grace)
        if self._stopping:
            logger.warning("stopping at once workers=%d", len(self._workers))
            self._workers.kill()
            return
        self._stopping = True
        self._notifier.stopping()
        self._on_stop()
        self._workers.stop(grace, "stop")

    def _roll(self) -> None:
        """Replace every worker in turn by one of the configuration as it is now."""
        if self._upgrades.running:
            logger.info("reload waits for the upgrade")
            self._reload_wanted = True
        elif (generation := self._reload()) is not None:
            self._notifier.reloading(time.monotonic())
            self._workers.roll(generation)

    def _reopen_logs(self) -> None:
        for worker in self._workers:
            worker.kill(signal.SIGUSR1)
        if self._predecessor is not None:
            self._predecessor.reopen_logs()

    # Towards a successor

    def _hand_over(self, successor: Successor, taken: Sequence[str]) -> bool:
        if not self._notifier.hand_over(successor.pid):
            return False
        logger.info("upgraded, draining pid=%d successor=%d", os.getpid(), successor.pid)
        if self._status is not None:
            self._selector.unregister(self._status.sock)
            self._status = None
        self._sockets.hand_over(taken)
        successor.channel.send(do="take over", reload=self._reload_wanted)
        self._workers.stop(self._workers.patience.recycle_grace, "upgraded", handed_over=True)
        return True

    def _upgrade_ended(self) -> None:
        if self._reload_wanted and not self._stopping:
            self._reload_wanted = False
            self._roll()

    def _requested(self, what: str) -> None:
        if what == "stop":
            self._stop()
        else:
            self._reopen_logs()

    # Towards a predecessor

    @property
    def _main(self) -> bool:
        """Whether this process is the service, and not yet or no more another one."""
        started = self._predecessor is None or self._predecessor.handed_over
        return started and not self._stopping and not self._upgrades.handed_over

    def _complete(self) -> None:
        if self._predecessor is not None:
            self._predecessor.ready(self._sockets)
        self._notifier.ready()

    def _died(self, why: str) -> None:
        before = self._predecessor
        if before is not None and not before.handed_over and not self._stopping:
            before.failed(why)
            self._stop()

    def _take_over(self, reload: bool) -> None:
        assert self._predecessor is not None
        if self._stopping:
            self._predecessor.stop()
            return
        logger.info("took over pid=%d", os.getpid())
        self._sockets.own()
        self._watch_status()
        self._notifier.take_over()
        if self._workers.complete:
            self._notifier.ready()
        if reload:
            self._roll()
