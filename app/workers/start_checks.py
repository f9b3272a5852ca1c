"""What must hold for `hipache serve` to start: one table, asked by it and by `hipache doctor`.

Asking changes nothing. Root asks about files as the user that its workers become. Whether
an address is free shows when it is bound; all else is asked before anything is done.
"""

from __future__ import annotations

import errno
import os
import ssl
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..config.messages import fault
from ..config.structs import Config
from ..errors import ConfigError
from ..hooks.hook_loading import load_hooks
from ..stores import driver_of, open_store
from . import privileges
from .listening import tls_listeners


class StartCheck(NamedTuple):
    """One thing that must hold."""

    names: frozenset[str]
    """The doctor's findings that tell of it in detail."""
    ask: Callable[[Config], object]
    """Raises ConfigError where 'hipache serve' would not start."""


def workers_ids(config: Config) -> tuple[int, int] | None:
    """User and group that root gives its workers; None where it gives nothing away.

    Raises ConfigError for a user that does not exist.
    """
    if os.geteuid() != 0 or config.user is None:
        return None
    group = None if config.group is None else str(config.group)
    return privileges.find_ids(str(config.user), group)


def check_store(config: Config) -> None:
    """What every worker would fail on, and a server of our own that is not there."""
    open_store(config)
    driver_of(config).hold()


def check_program(config: Config) -> None:
    """Raises ConfigError if the workers could not read what every worker reads."""
    ids = workers_ids(config)
    if ids is None or ids[0] == 0:
        return
    if (closed := privileges.as_user(*ids, privileges.unreadable)) is not None:
        raise ConfigError(
            f"user: {config.user} may not read the program itself: {closed} is closed to it; "
            "install Hipache where everybody may read, as in /opt, or name another user"
        )


def check_log(config: Config) -> None:
    """Raises ConfigError where no worker could open the access log.

    Only at the start: whatever takes it away later costs lines, and never the service.
    """
    log = config.server.access_log
    if log is None or log.value.file is None:
        return
    if why := why_unwritable(Path(log.value.file).absolute(), workers_ids(config)):
        raise ConfigError(f"{config.source}: server.accessLog: {log}: {why}")


def check_ca_file(config: Config) -> None:
    """Raises ConfigError if the CA that certificates are ordered from could not be trusted.

    The process that orders asks it, as the user that workers become.
    """
    path = config.https.acme.ca
    if not config.https.acme.agree or path is None:
        return
    ids = workers_ids(config)
    problem = privileges.in_child(partial(_ca_problem, path), ids if ids and ids[0] else None)
    if problem is not None:
        raise fault(config.source, "https.acme.ca", f"{path}: {problem}")


def _ca_problem(path: str) -> str | None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return "no certificate in PEM form can be read from it"
    except OSError as exc:
        return exc.strerror or str(exc)
    return None


def check_hooks(config: Config) -> None:
    """Raises ConfigError for hooks that cannot be loaded.

    They are loaded in a child, as the user that workers become: this process stays without them,
    so that workers started by it later load them anew.
    """
    if config.server.hooks is None:
        return
    ids = workers_ids(config)
    problem = privileges.in_child(partial(_hooks_problem, config), ids if ids and ids[0] else None)
    if problem is not None:
        raise ConfigError(problem)


def _hooks_problem(config: Config) -> str | None:
    try:
        load_hooks(config)
    except ConfigError as exc:
        return str(exc)
    return None


def why_unwritable(path: Path, ids: tuple[int, int] | None) -> str:
    """Why the workers could not open a log there; empty if they could.

    `ids`: the user that root becomes, after `hand_over`; None for who we are.
    """
    try:
        there = path.stat()
    except FileNotFoundError:
        return _why_not_made(path, ids)
    except OSError as exc:
        return exc.strerror or str(exc)
    if stat.S_ISDIR(there.st_mode):
        return os.strerror(errno.EISDIR)
    alone = stat.S_ISREG(there.st_mode) and there.st_nlink == 1 and not path.is_symlink()
    if ids is not None and alone:  # then it is handed over
        return "" if may(path.parent, os.X_OK, ids) else os.strerror(errno.EACCES)
    return "" if may(path, os.W_OK, ids) else os.strerror(errno.EACCES)


def _why_not_made(path: Path, ids: tuple[int, int] | None) -> str:
    if path.is_symlink():  # for which no folder is made, and nothing is handed over
        folder = Path(os.path.realpath(path)).parent
        if not folder.is_dir():
            return os.strerror(errno.ENOENT)
        return "" if may(folder, os.W_OK | os.X_OK, ids) else os.strerror(errno.EACCES)
    there = next(folder for folder in path.parents if os.path.exists(folder))
    if not there.is_dir():
        return os.strerror(errno.ENOTDIR)
    making = os.access(there, os.W_OK | os.X_OK) and may(there, os.X_OK, ids)
    return "" if making else os.strerror(errno.EACCES)


def may(path: Path, wanted: int, ids: tuple[int, int] | None) -> bool:
    """Whether these ids, or else we, have the access of `os.access` to this path."""
    if ids is None:
        return os.access(path, wanted)
    return privileges.as_user(*ids, lambda: os.access(path, wanted))


START_CHECKS = (
    StartCheck(frozenset({"no-user"}), workers_ids),
    StartCheck(frozenset({"store-away"}), check_store),
    StartCheck(frozenset({"certificate-unusable"}), tls_listeners),
    StartCheck(frozenset({"program-unreadable"}), check_program),
    StartCheck(frozenset({"not-writable"}), check_log),
    StartCheck(frozenset(), check_ca_file),
    StartCheck(frozenset(), check_hooks),
)


def why_not_started(config: Config) -> Iterator[str]:
    """Every reason for which 'hipache serve' would not start; whether addresses are free aside."""
    for check in START_CHECKS:
        try:
            check.ask(config)
        except ConfigError as exc:
            yield str(exc)
