"""Detects that a file has changed without reading it."""

from __future__ import annotations

import os
from pathlib import Path

Stamp = tuple[int, int, int] | None


def stamp_of(path: str | Path) -> Stamp:
    """Inode, time of change in nanoseconds, size in bytes; None if the file cannot be seen."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
