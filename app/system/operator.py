"""Who works at this machine."""

from __future__ import annotations

import getpass
import os
import socket


def operator() -> str:
    """User and machine, as in `alice@gate1`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
