"""Drops root once the ports are bound and the logs are open."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..errors import ConfigError

T = TypeVar("T", bool, str | None)

_LIBRARY = os.path.dirname(os.__file__)


def find_ids(user: str, group: str | None) -> tuple[int, int]:
    """The ids of `user` and `group` (default: the user's own group); both also as numbers.

    Raises ConfigError naming the one that does not exist.
    """
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        raise ConfigError(f"user: there is no user {user!r} on this machine") from None
    if group is None:
        return entry.pw_uid, entry.pw_gid
    try:
        gid = grp.getgrgid(int(group)) if group.isdigit() else grp.getgrnam(group)
    except KeyError:
        raise ConfigError(f"group: there is no group {group!r} on this machine") from None
    return entry.pw_uid, gid.gr_gid


def drop(uid: int, gid: int) -> None:
    """Become `uid`:`gid` for good, supplementary groups too (Hipache kept root's)."""
    name = pwd.getpwuid(uid).pw_name
    os.initgroups(name, gid)
    os.setgid(gid)
    os.setuid(uid)


def make_folder(folder: Path, uid: int, gid: int) -> None:
    """Make a folder that is missing, for those who will write to it. For root.

    Where it cannot be made, they are told when they write.
    """
    with contextlib.suppress(OSError):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
        os.chown(folder, uid, gid)


def unreadable(*, library: bool = False) -> str | None:
    """What keeps this process from reading the program that it runs: a folder or file, or None.

    With `library` Python's own library is asked about, else Hipache and the
    packages that it needs. Root can import what nobody else may read, a virtual
    environment in its home for one; what is read later fails then.
    """
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file is None or (_of_python(file) != library) or os.access(file, os.R_OK):
            continue
        parents = reversed(Path(file).absolute().parents)
        closed = (str(folder) for folder in parents if not os.access(folder, os.X_OK))
        return next(closed, file)
    return None


def _of_python(file: str) -> bool:
    return file.startswith(f"{_LIBRARY}/") and "/site-packages/" not in file


def as_user(uid: int, gid: int, ask: Callable[[], T]) -> T:
    """What `ask` returns in a child that has become `uid`:`gid`. For root."""
    return in_child(ask, (uid, gid))


def in_child(ask: Callable[[], T], ids: tuple[int, int] | None = None) -> T:
    """What `ask` returns in a child, which with `ids` has become this user and group."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.close(reading)
            if ids is not None:
                drop(*ids)
            os.write(writing, json.dumps(ask()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    found: T = json.loads(said)
    return found
