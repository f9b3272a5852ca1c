"""The living workers of one supervisor, by their pids."""

from __future__ import annotations

from .process import WorkerProcess


class Roster(dict[int, WorkerProcess]):
    """pid -> worker, from its fork until its exit status is collected."""

    @property
    def workers(self) -> list[WorkerProcess]:
        """All of them, as they are now: the list may be walked while workers come and go."""
        return list(self.values())

    @property
    def serving(self) -> int:
        """Workers that take connections."""
        return sum(worker.serving for worker in self.values())

    def holds_slot(self, slot: int) -> bool:
        """Whether a worker that does not drain has this slot, ready or not."""
        return any(worker.slot == slot and not worker.draining for worker in self.values())

    def kill(self) -> None:
        """End all of them at once."""
        for worker in self.values():
            worker.kill()

    def describe(self, now: float) -> list[dict[str, object]]:
        """What `hipache status` shows, in the order of slots."""
        ordered = sorted(self.values(), key=lambda worker: (worker.slot, worker.started))
        return [worker.describe(now) for worker in ordered]
