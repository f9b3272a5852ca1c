"""Keeps `workers` workers serving: replaces what dies, hangs, grows or is told to go.

A replacement serves before the worker it replaces begins to drain, and no more
than one worker drains for its memory at a time. Hipache started the new one
only after the old one was gone, and all could go at once (hipache.md 1.10,
point 24).
"""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from .companion import Companion
from .generation import Generation, Patience
from .overdue import KILL_DELAY, HangDetection
from .process import WorkerMessage, WorkerProcess, exit_name
from .replacing import Replacements
from .respawning import Respawning
from .roster import Roster

logger = logging.getLogger("hipache.supervisor")


class WorkerPool:
    """The workers of one supervisor. It forks, so its process must have no threads."""

    def __init__(
        self,
        generation: Generation,
        selector: selectors.BaseSelector,
        *,
        close_in_child: Callable[[], None],
        on_complete: Callable[[], None],
        on_death: Callable[[str], None] = lambda why: None,
    ) -> None:
        """`on_complete` is called when a worker is ready and as many serve as there should be.

        `on_death` is called when a worker ends that nobody told to; it gets one line.
        `close_in_child` closes what only the supervisor may hold, other than the workers.
        """
        self._generation = generation
        self._selector = selector
        self._close_others = close_in_child
        self._on_complete = on_complete
        self._on_death = on_death
        self._count = generation.workers
        self._workers = Roster()
        self._replacements = Replacements()
        self._respawning = Respawning()
        self._hangs = HangDetection()
        self._companion = Companion(self.close_in_child)
        self._stopping = False

    @property
    def patience(self) -> Patience:
        """How long this generation's workers are waited for."""
        return self._generation.patience

    def __len__(self) -> int:
        return len(self._workers)

    def __iter__(self) -> Iterator[WorkerProcess]:
        return iter(self._workers.workers)

    @property
    def complete(self) -> bool:
        """Whether as many workers serve as there should be."""
        return self._workers.serving >= self._count

    def start(self) -> None:
        """Start as many workers as there should be."""
        for slot in range(1, self._count + 1):
            self._spawn(slot)
        self._companion.run(self._generation.companion)

    def stop(self, grace: float, why: str, *, handed_over: bool = False) -> None:
        """Drain all workers; none is started any more.

        `handed_over`: a successor serves on the same listeners, the admin listener included.
        """
        self._stopping = True
        self._respawning.limit(0)
        self._companion.run(None)
        for worker in self:
            self._drain(worker, grace, why, handed_over=handed_over)

    def kill(self) -> None:
        """End all workers at once."""
        self._workers.kill()
        self._companion.kill()

    def close_in_child(self) -> None:
        """Close what only the supervisor may hold."""
        self._close_others()
        for worker in self:
            worker.close()
        self._companion.close_in_child()

    def describe(self) -> dict[str, object]:
        """What `hipache status` shows of the processes."""
        now = time.monotonic()
        return {
            "workers": self._workers.describe(now), "certificates": self._companion.describe(now)
        }  # fmt: skip

    # Changes

    def roll(self, generation: Generation) -> None:
        """Replace every worker in turn by one of this generation."""
        self._generation = generation
        self._replacements.roll(self)
        if generation.workers != self._count:
            self._resize(generation.workers)
        self._companion.run(generation.companion)

    def grow(self) -> None:
        """One worker more, until the next roll."""
        self._resize(self._count + 1)

    def shrink(self) -> None:
        """One worker less, until the next roll; one stays."""
        self._resize(max(1, self._count - 1))

    def _resize(self, count: int) -> None:
        logger.info("workers=%d was=%d", count, self._count)
        self._count = count
        self._respawning.limit(count)
        for slot in range(1, count + 1):
            if not self._workers.holds_slot(slot) and not self._stopping:
                self._spawn(slot)
        for worker in self:
            if worker.slot > count:
                self._drain(worker, self.patience.recycle_grace, "fewer workers")

    # Starting and ending workers

    def _spawn(self, slot: int, *, instead_of: WorkerProcess | None = None) -> None:
        self._respawning.started(slot)
        worker = WorkerProcess.fork(slot, self._generation.main, self.close_in_child)
        self._workers[worker.pid] = worker
        if instead_of is not None:
            self._replacements.started(worker, instead_of)
        self._selector.register(
            worker.channel.sock, selectors.EVENT_READ, partial(self._heard, worker)
        )
        logger.info("worker started worker=%d pid=%d", slot, worker.pid)

    def _drain(
        self, worker: WorkerProcess, grace: float, why: str, *, handed_over: bool = False
    ) -> None:
        if not worker.draining:
            logger.info("worker draining worker=%d pid=%d why=%s", worker.slot, worker.pid, why)
        worker.drain(grace, time.monotonic(), handed_over=handed_over)

    def exited(self, pid: int, exit_code: int) -> None:
        """A child has ended; it need not be a worker."""
        self._companion.exited(pid, exit_code)
        worker = self._workers.pop(pid, None)
        if worker is not None:
            with suppress(KeyError):  # its end was heard before
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
        self._on_death(f"worker {worker.slot} ended with status {exit_name(exit_code)}")

    # What workers say

    def _heard(self, worker: WorkerProcess) -> None:
        messages = worker.channel.receive()
        if messages is None:  # it goes, and SIGCHLD tells the rest
            self._selector.unregister(worker.channel.sock)  # else select would return at once
            return
        worker.last_seen = time.monotonic()
        for message in messages:
            self._handle(worker, message)

    def _handle(self, worker: WorkerProcess, message: WorkerMessage) -> None:
        match message.get("say"):
            case "ready":
                worker.ready = True
                logger.info("worker ready worker=%d pid=%d", worker.slot, worker.pid)
                if (old := self._replacements.settled(worker)) is not None:
                    self._drain(old, self.patience.recycle_grace, "replaced")
                if self.complete:
                    self._on_complete()
            case "recycle" if not worker.draining:
                self._replacements.recycle(worker)
            case "alive":
                worker.report = message

    # Time

    def deadlines(self) -> Iterator[float]:
        """When `tick` has something to do, on time.monotonic()."""
        yield from self._respawning.times
        yield from self._companion.deadlines()
        for worker in self:
            yield worker.drain_deadline + KILL_DELAY

    def tick(self, now: float) -> None:
        """Do what is due; call it once a second at least."""
        self._kill_overdue(now)
        self._companion.tick(self.patience, now)
        if self._stopping:
            return
        for slot in self._respawning.due(now):
            self._spawn(slot)
        if (old := self._replacements.next(self, now)) is not None:
            self._spawn(old.slot, instead_of=old)

    def _kill_overdue(self, now: float) -> None:
        for worker, why in self._hangs.overdue(self._workers.workers, self.patience, now):
            logger.error("worker killed worker=%d pid=%d why=%s", worker.slot, worker.pid, why)
            worker.kill()
            worker.last_seen, worker.drain_deadline = now, float("inf")  # once is enough
