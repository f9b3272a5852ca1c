"""Keeps `workers` workers serving: replaces what dies, hangs, grows or is told to go.

A replacement serves before the worker it replaces begins to drain, and no more
than one worker drains for its memory at a time. Hipache started the new one
only after the old one was gone, and all could go at once (hipache.md 1.10,
point 24). The supervisor has one thread and no event loop, so that forking is
safe at any time; it serves nothing itself.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import time
from collections.abc import Callable
from functools import partial

from .generation import Generation, Patience
from .overdue import KILL_DELAY, HangDetection
from .process import WorkerMessage, WorkerProcess, exit_name
from .replacing import Replacements
from .respawning import Respawning
from .roster import Roster
from .signal_socket import SignalSocket
from .status import StatusSocket
from .systemd import Notifier

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
        self._generation = generation
        self._reload = reload
        self._on_stop = on_stop
        self._status = status
        self._notifier = notifier or Notifier({})
        self._count = generation.workers
        self._workers = Roster()
        self._replacements = Replacements()
        self._respawning = Respawning()
        self._hangs = HangDetection()
        self._stopping = False
        self._selector = selectors.DefaultSelector()
        self._signals = SignalSocket(HANDLED)
        self._selector.register(self._signals.sock, selectors.EVENT_READ, self._signalled)
        if status is not None:
            self._selector.register(status.sock, selectors.EVENT_READ, self._answer)

    @property
    def _patience(self) -> Patience:
        return self._generation.patience

    def run(self) -> int:
        """Serve until told to stop; returns the exit status."""
        for slot in range(1, self._count + 1):
            self._spawn(slot)
        try:
            while self._workers or not self._stopping:
                self._wait(self._until_next_deadline())
                self._tick(time.monotonic())
        finally:
            self._workers.kill()
            if self._status is not None:
                self._status.close()
        logger.info("stopped")
        return 0

    # Starting and ending workers

    def _spawn(self, slot: int, *, instead_of: WorkerProcess | None = None) -> None:
        self._respawning.started(slot)
        worker = WorkerProcess.fork(slot, self._generation.main, self._close_in_child)
        self._workers[worker.pid] = worker
        if instead_of is not None:
            self._replacements.started(worker, instead_of)
        self._selector.register(
            worker.channel.sock, selectors.EVENT_READ, partial(self._heard, worker)
        )
        logger.info("worker started worker=%d pid=%d", slot, worker.pid)

    def _close_in_child(self) -> None:
        self._selector.close()
        self._signals.close()
        if self._status is not None:
            self._status.sock.close()
        for worker in self._workers.workers:
            worker.close()

    def _drain(self, worker: WorkerProcess, grace: float, why: str) -> None:
        if not worker.draining:
            logger.info("worker draining worker=%d pid=%d why=%s", worker.slot, worker.pid, why)
        worker.drain(grace, time.monotonic())

    def _reap(self) -> None:
        for worker, exit_code in self._workers.exited():
            self._selector.unregister(worker.channel.sock)
            worker.close()
            self._replacements.forget(worker)
            self._after_exit(worker, exit_code)

    def _after_exit(self, worker: WorkerProcess, exit_code: int) -> None:
        age = time.monotonic() - worker.started
        replaced = self._replacements.settled(worker)
        expected = worker.draining or self._stopping
        level, event = (logging.INFO, "ended") if expected else (logging.ERROR, "died")
        text = f"worker {event} worker=%d pid=%d status=%s age=%.1fs"
        logger.log(level, text, worker.slot, worker.pid, exit_name(exit_code), age)
        if expected or worker.slot > self._count:
            return
        delay = self._respawning.delay(worker.slot, age, exit_name(exit_code))
        if replaced is not None and replaced.pid in self._workers:
            # The one it was to replace still serves: keep that, try again later.
            self._replacements.retry(replaced, time.monotonic() + max(delay, 1.0))
        elif not self._workers.holds_slot(worker.slot):  # a replacement may be on its way
            self._respawning.at(worker.slot, time.monotonic() + delay)

    # What workers say

    def _heard(self, worker: WorkerProcess) -> None:
        messages = worker.channel.receive()
        if messages is None:
            return  # it is gone; SIGCHLD tells the rest
        worker.last_seen = time.monotonic()
        for message in messages:
            self._handle(worker, message)

    def _handle(self, worker: WorkerProcess, message: WorkerMessage) -> None:
        match message.get("say"):
            case "ready":
                worker.ready = True
                logger.info("worker ready worker=%d pid=%d", worker.slot, worker.pid)
                if (old := self._replacements.settled(worker)) is not None:
                    self._drain(old, self._patience.recycle_grace, "replaced")
                if self._workers.serving >= self._count:
                    self._notifier.ready()
            case "recycle" if not worker.draining:
                self._replacements.recycle(worker)
            case "alive":
                worker.report = message

    def _answer(self) -> None:
        assert self._status is not None
        self._status.answer({
            "state": "stopping" if self._stopping else "serving",
            "pid": os.getpid(),
            "workers": self._workers.describe(time.monotonic()),
        })  # fmt: skip

    # Signals

    def _signalled(self) -> None:
        for signum in self._signals.read():
            match signum:
                case signal.SIGTERM | signal.SIGINT:
                    self._stop()
                case signal.SIGHUP:
                    self._roll()
                case signal.SIGUSR1:
                    for worker in self._workers.workers:
                        worker.kill(signal.SIGUSR1)
                case signal.SIGTTIN:
                    self._resize(self._count + 1)
                case signal.SIGTTOU:
                    self._resize(max(1, self._count - 1))

    def _stop(self) -> None:
        if self._stopping:
            logger.warning("stopping at once workers=%d", len(self._workers))
            self._workers.kill()
            return
        self._stopping = True
        self._notifier.stopping()
        self._on_stop()
        for worker in self._workers.workers:
            self._drain(worker, self._patience.graceful_timeout, "stop")

    def _roll(self) -> None:
        """Replace every worker in turn by one of the configuration as it is now."""
        generation = None if self._stopping else self._reload()
        if generation is None:
            return
        self._generation = generation
        self._notifier.reloading(time.monotonic())
        self._replacements.roll(self._workers.workers)
        if generation.workers != self._count:
            self._resize(generation.workers)

    def _resize(self, count: int) -> None:
        logger.info("workers=%d was=%d", count, self._count)
        self._count = count
        for slot in range(1, count + 1):
            if not self._workers.holds_slot(slot) and not self._stopping:
                self._spawn(slot)
        for worker in self._workers.workers:
            if worker.slot > count:
                self._drain(worker, self._patience.recycle_grace, "fewer workers")

    # Time

    def _wait(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            key.data()
        self._reap()

    def _until_next_deadline(self) -> float:
        now = time.monotonic()
        due = [now + 1.0, *self._respawning.times]
        due += [w.drain_deadline + KILL_DELAY for w in self._workers.workers]
        return max(0.0, min(due) - now)

    def _tick(self, now: float) -> None:
        self._notifier.alive(now)
        self._kill_overdue(now)
        if self._stopping:
            return
        for slot in self._respawning.due(now):
            self._spawn(slot)
        if (old := self._replacements.next(self._workers.workers, now)) is not None:
            self._spawn(old.slot, instead_of=old)

    def _kill_overdue(self, now: float) -> None:
        overdue = self._hangs.overdue(self._workers.workers, self._patience, now)
        for worker, why in overdue:
            logger.error("worker killed worker=%d pid=%d why=%s", worker.slot, worker.pid, why)
            worker.kill()
            worker.last_seen, worker.drain_deadline = now, float("inf")  # once is enough
