"""Where the processes of one machine leave notes for each other: in memory, if possible."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def memory_folder() -> Path:
    """A folder that everybody may write to; /dev/shm, else the one for temporary files."""
    base = Path("/dev/shm")
    return base if os.access(base, os.W_OK) else Path(tempfile.gettempdir())
