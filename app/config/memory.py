"""When a worker is replaced for its size. Pure."""

from __future__ import annotations

from .types import Count, Seconds, Section


class MemoryConfig(Section, frozen=True, kw_only=True):
    """The `memory` object: when a worker is replaced for its size."""

    limit: Count = 200  # MB (2**20 bytes) of resident memory per worker
    check_interval: Seconds = 60.0  # and sooner, where the peak has risen past the limit
    graceful_wait: Seconds = 120.0  # from the replacement's start until what runs is cut
    trace: bool = False  # name the largest allocation sites; costs a third of the speed
    exit_alone: bool = False  # drain and exit even if no supervisor starts another worker
