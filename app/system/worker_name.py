"""What a worker calls itself."""

from __future__ import annotations

import os
import socket


def worker_number() -> int:
    """This worker's number under `hipache serve`, else 0."""
    return int(os.environ.get("HIPACHE_WORKER", "0"))


def worker_name() -> str:
    """This worker's name, which its marks on backends carry."""
    return f"{socket.gethostname()}:{os.getpid()}"
