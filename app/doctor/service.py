"""The service that runs here, as far as it can be asked."""

from __future__ import annotations

import errno
import os
import pwd
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from ..config.structs import Config
from ..errors import ConfigError
from ..workers.status import ask
from .findings import Finding, Severity

DENIED = os.strerror(errno.EACCES)


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
            "Its addresses, its limits, and what it may read and write were not looked at.",
            "sudo hipache doctor", "Ask as root or as the user who runs it:",
        )  # fmt: skip


def of_others(found: Iterable[Finding]) -> Iterator[Finding]:
    """Of another user's service: those that do not only say what we may not do."""
    for finding in found:
        if finding.name != "not-writable" and DENIED not in finding.problem:
            yield finding


def asked_as(config: Config) -> str:
    """What stands before a command so that it sees what the service's own user sees."""
    path = Path(config.server.status_socket or "/")
    for place in (path, *path.parents):
        with suppress(OSError, KeyError):
            uid = place.stat().st_uid
            return "sudo" if uid == 0 else f"sudo -u {pwd.getpwuid(uid).pw_name}"
    return "sudo"
