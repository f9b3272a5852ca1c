"""What the workers of one machine have told lately: one small file in memory."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from pathlib import Path

from .shared_folder import memory_folder, open_own

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
        try:
            descriptor = open_own(self.path)
        except OSError:
            return True
        with open(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            now = time.time()
            until = {each: end for each, end in _read(file.read()).items() if end > now}
            if name in until:
                return False
            until[name] = now + seconds
            kept = dict(sorted(until.items(), key=lambda each: each[1])[-MOST:])
            file.seek(0)
            file.truncate()
            file.write(json.dumps(kept).encode())
        return True


def _read(data: bytes) -> dict[str, float]:
    try:
        found = json.loads(data or b"{}")
    except ValueError:  # written by halves when a machine stopped
        return {}
    return {str(name): float(end) for name, end in found.items()} if _is_claims(found) else {}


def _is_claims(found: object) -> bool:
    return isinstance(found, dict) and all(isinstance(end, int | float) for end in found.values())
