"""Drops root once the ports are bound and the logs are open."""

from __future__ import annotations

import grp
import os
import pwd

from app.errors import ConfigError


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
