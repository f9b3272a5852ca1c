"""Which worker is replaced next, and by which: one at a time. Reads no clock."""

from __future__ import annotations

from collections.abc import Iterable

from .process import WorkerProcess


class Replacements:
    """The queues of one supervisor, and the replacements that are starting.

    A roll (SIGHUP) goes on while old workers still drain; a worker that is replaced
    for its memory waits until no other drains.
    """

    def __init__(self) -> None:
        self._starting: dict[int, WorkerProcess] = {}  # replacement's pid -> old one
        self._to_roll: list[WorkerProcess] = []
        self._to_recycle: list[WorkerProcess] = []
        self._not_before = 0.0

    def roll(self, workers: Iterable[WorkerProcess]) -> None:
        """Replace all of these in turn."""
        self._to_roll = [worker for worker in workers if not worker.draining]

    def recycle(self, worker: WorkerProcess) -> None:
        """Replace this one for its memory, unless it is in the queue."""
        if worker not in self._to_recycle:
            self._to_recycle.append(worker)

    def next(self, workers: Iterable[WorkerProcess], now: float) -> WorkerProcess | None:
        """The worker whose replacement may start; None: one is starting, or nothing waits."""
        if self._starting or now < self._not_before:
            return None
        draining = any(worker.draining for worker in workers)
        queue = self._to_roll or ([] if draining else self._to_recycle)
        old = queue.pop(0) if queue else None
        return None if old is None or old.draining else old

    def started(self, replacement: WorkerProcess, old: WorkerProcess) -> None:
        """`replacement` takes over from `old` once it is ready."""
        self._starting[replacement.pid] = old

    def settled(self, replacement: WorkerProcess) -> WorkerProcess | None:
        """`replacement` is ready, or has died: the worker that it was to replace, if any."""
        return self._starting.pop(replacement.pid, None)

    def retry(self, old: WorkerProcess, when: float) -> None:
        """The replacement of `old` died, and `old` still serves: try again then."""
        self._to_recycle.append(old)
        self._not_before = when

    def forget(self, worker: WorkerProcess) -> None:
        """It has ended: nobody replaces it any more."""
        for queue in (self._to_roll, self._to_recycle):
            if worker in queue:
                queue.remove(worker)
        self._starting = {p: old for p, old in self._starting.items() if old is not worker}
