"""Where the processes of one machine leave notes for each other: in memory, if possible."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path


def memory_folder() -> Path:
    """A folder that everybody may write to; /dev/shm, else the one for temporary files."""
    base = Path("/dev/shm")
    return base if os.access(base, os.W_OK) else Path(tempfile.gettempdir())


def is_held(descriptor: int) -> bool:
    """Whether the process that locked this file when it made it lives: a kill unlocks it too.

    Several may ask at once, so that one who asks is not taken for who wrote.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
