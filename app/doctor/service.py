"""The service that runs here, as far as it can be asked."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..config.structs import Config
from ..errors import ConfigError
from ..workers.status import ask
from .findings import Finding, Severity


def running(config: Config) -> int | None:
    """The pid of the supervisor that runs here with this configuration, if there is one."""
    try:
        return int(ask(config.server.status_socket)["pid"]) if config.server.status_socket else None
    except (ConfigError, ValueError, KeyError):
        return None


def is_closed(config: Config) -> bool:
    """Whether a service may run here whose status socket this user may not ask."""
    path = config.server.status_socket
    try:
        return path is not None and _exists(path) and not os.access(path, os.W_OK)
    except PermissionError:
        return True


def _exists(path: str) -> bool:
    """Raises PermissionError where that cannot be seen."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def of_closed(config: Config) -> Iterator[Finding]:
    """Says what was not looked at."""
    if is_closed(config):
        yield Finding(
            Severity.NOTE, "status-closed", f"server.statusSocket = {config.server.status_socket}",
            "it is closed to you, so whether the service runs is not known",
            "Its addresses and its limits were not looked at.", "sudo hipache doctor",
            "Ask as root or as the user who runs it:",
        )  # fmt: skip
