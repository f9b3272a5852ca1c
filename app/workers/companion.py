"""The process beside the workers that orders certificates. It serves nobody: when it ends by
itself, or hangs and is killed, another is started, and no request notices."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator

from .generation import Patience
from .overdue import KILL_DELAY, HangDetection
from .process import WorkerMain, WorkerMessage, WorkerProcess, exit_name
from .respawning import Respawning

logger = logging.getLogger("hipache.supervisor")

SLOT = 0
"""Its number; those of workers begin with 1."""
SILENT_AFTER = 1.0
"""Seconds after which one that was told to end is killed."""


class Companion:
    """At most one process, and those that end after a reload."""

    def __init__(self, close_in_child: Callable[[], None]) -> None:
        """`close_in_child` closes what only the supervisor may hold."""
        self._close_in_child = close_in_child
        self._main: WorkerMain | None = None
        self._process: WorkerProcess | None = None
        self._ending: dict[int, WorkerProcess] = {}
        self._respawning = Respawning()
        self._hangs = HangDetection()

    def run(self, main: WorkerMain | None) -> None:
        """Run `main` from now on, instead of what ran before; None: nothing."""
        self._main = main
        self._respawning.started(SLOT)
        if (old := self._process) is not None:
            self._process = None
            self._ending[old.pid] = old
            old.drain_deadline = time.monotonic() + SILENT_AFTER
            old.kill(signal.SIGTERM)
        if main is not None:
            self._start(main)

    def _start(self, main: WorkerMain) -> None:
        self._respawning.started(SLOT)
        self._process = WorkerProcess.fork(SLOT, main, self._close_in_child)
        logger.info("certificates' process started pid=%d", self._process.pid)

    def exited(self, pid: int, exit_code: int) -> None:
        """A child has ended; it need not be this one."""
        if (ended := self._ending.pop(pid, None)) is not None:
            ended.close()
        process = self._process
        if process is None or process.pid != pid:
            return
        process.close()
        self._process = None
        now = time.monotonic()
        status = exit_name(exit_code)
        logger.error("certificates' process died pid=%d status=%s", pid, status)
        delay = self._respawning.delay(SLOT, now - process.started, status)
        self._respawning.at(SLOT, now + delay)

    def deadlines(self) -> Iterator[float]:
        """When `tick` has something to do, on time.monotonic()."""
        yield from self._respawning.times
        for process in self._ending.values():
            yield process.drain_deadline + KILL_DELAY

    def tick(self, patience: Patience, now: float) -> None:
        """Do what is due. `patience` is that for workers."""
        if self._main is not None and self._respawning.due(now):
            self._start(self._main)
        if self._process is not None:
            _hear(self._process, now)
        for process, why in self._hangs.overdue(self._all, patience, now):
            logger.error("certificates' process killed pid=%d why=%s", process.pid, why)
            process.kill()
            process.last_seen, process.drain_deadline = now, float("inf")  # once is enough

    def describe(self, now: float) -> WorkerMessage | None:
        """What `hipache status` shows of it; None where nothing runs."""
        if self._process is None:
            return None
        return {k: v for k, v in self._process.describe(now).items() if k != "worker"}

    @property
    def _all(self) -> list[WorkerProcess]:
        return [*([] if self._process is None else [self._process]), *self._ending.values()]

    def kill(self) -> None:
        """End it at once."""
        for process in self._all:
            process.kill()

    def close_in_child(self) -> None:
        """Close what only the supervisor may hold."""
        for process in self._all:
            process.close()


def _hear(process: WorkerProcess, now: float) -> None:
    """Take its signs of life: one a second. Nobody but us reads them, so none is missed."""
    for message in process.channel.receive() or ():
        process.ready, process.last_seen, process.report = True, now, message
