"""What the workers of one machine have told lately: one small file in memory."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

from .shared_folder import edit_numbers, memory_folder

MOST = 10_000
"""Claims that are kept; the oldest are forgotten."""


class MachineClaims:
    """Outlives the workers: one that is replaced does not tell again what stands there."""

    def __init__(self, store: str) -> None:
        """`store` is its name without secrets: what several proxies share on this machine."""
        name = hashlib.sha256(store.encode()).hexdigest()[:16]
        self.path: Path = memory_folder() / f"hipache-told-{os.geteuid()}-{name}"

    def claim(self, name: str, seconds: float) -> bool:
        """Whether nobody here has claimed `name` in its time. It is ours then, for `seconds`.

        Where no file can be written, every worker is for itself.
        """
        ours = True

        def claimed(before: dict[str, float]) -> dict[str, float] | None:
            nonlocal ours
            now = time.time()
            until = {each: end for each, end in before.items() if end > now}
            if name in until:
                ours = False
                return None
            until[name] = now + seconds
            return dict(sorted(until.items(), key=lambda each: each[1])[-MOST:])

        with suppress(OSError):
            edit_numbers(self.path, claimed)
        return ours
