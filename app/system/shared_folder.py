"""The folder that the processes of one machine share: in memory, if possible."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path


def memory_folder() -> Path:
    """A folder that every user may write to: /dev/shm, else the one for temporary files."""
    base = Path("/dev/shm")
    return base if os.access(base, os.W_OK) else Path(tempfile.gettempdir())


def is_held(descriptor: int) -> bool:
    """Whether the process that created and locked this file is alive; a kill unlocks it, too.

    The test takes a shared lock, so that two readers do not take each other for the writer.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
