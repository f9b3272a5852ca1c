"""What one reading of the configuration starts: how many workers, and how patiently."""

from __future__ import annotations

from dataclasses import dataclass

from .process import WorkerMain


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the supervisor waits for a worker. Times are seconds."""

    graceful_timeout: float = 30.0
    """From SIGTERM until running requests are cut; 0 waits for ever."""
    recycle_grace: float = 120.0
    """The same for a worker that is replaced while the service goes on."""
    hang_timeout: float = 10.0
    """A worker without a sign of life for so long is killed and replaced; 0 = never."""
    start_timeout: float = 30.0
    """A worker that is not ready by then counts as hung."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What one reading of the configuration starts; SIGHUP makes a new one."""

    workers: int
    main: WorkerMain
    patience: Patience = Patience()
    companion: WorkerMain | None = None
    """What runs in one more process; it serves nothing."""
