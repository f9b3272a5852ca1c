"""What can be wrong with the marks on backends that a store holds. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from ..frontends.backends import trimmed
from ..routing import Mark
from ..stores.base import FOREIGN
from ..stores.inspection import MarksFound
from .findings import Commands, Finding, Severity
from .redis_server import SKEW

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE


def of_marks(
    key: str, found: MarksFound, now: float, longest: float, commands: Commands
) -> Iterator[Finding]:
    """Check the marks under `key`, which is a frontend's or a requested host's.

    `longest`: seconds for which a mark is believed that does not say what it was meant for.
    """
    frontend = found.frontend
    if frontend is None:
        yield Finding(
            WARNING, "stale-mark", key, "marks remain of a frontend that no longer exists",
            "A new frontend of that name would start with dead backends.",
            commands.redis("del", f"dead:{key}", f"dead-info:{key}"),
        )  # fmt: skip
        return
    for number in found.ids:
        if not (number.isdecimal() and int(number) < frontend.size):
            yield Finding(
                WARNING, "stale-mark", key,
                f"backend number {number} is marked dead, but its list has {frontend.size}",
                "A backend that is added later would start as a dead one.",
                commands.redis("srem", f"dead:{key}", number),
            )  # fmt: skip
    live = {backend.url: backend for backend in frontend.backends}
    dead = {url: mark for url, mark in found.marks.items() if url in live and mark.until > now}
    for url, mark in dead.items():
        believed = max(longest, found.lasts.get(url, 0.0))
        if mark.by == FOREIGN:
            yield _foreign(key, url, mark, now, commands)
        elif mark.until - now > believed + SKEW:
            yield _from_the_future(key, url, mark, mark.until - now, believed)
    if dead and len(dead) == len(live):
        reasons = "; ".join(sorted({mark.reason for mark in dead.values()}))
        yield Finding(
            ERROR, "all-dead", key, f"all its backends are marked dead: {reasons}",
            "Requests go to the one that was marked longest ago (balance.panic), or get 502.",
            commands.hipache("dead", "clear", key),
            "Repair the backends; the first request that succeeds clears a mark. "
            "Or, if they are healthy:",
        )  # fmt: skip


def _foreign(key: str, url: str, mark: Mark, now: float, commands: Commands) -> Finding:
    clear = commands.hipache("dead", "clear", key, trimmed(url))
    if mark.until == inf:
        return Finding(
            ERROR, "foreign-mark", key, f"{url} is marked dead forever by another program",
            f"It gets no request until the mark is removed: dead:{key} has no expiry.",
            clear,
        )  # fmt: skip
    return Finding(
        NOTE, "foreign-mark", key,
        f"{url} is marked dead by another program, for {mark.until - now:.0f} s more",
        "It gets no request until then. An old Hipache or a health checker uses the same store.",
        clear, "If that backend is healthy:",
    )  # fmt: skip


def _from_the_future(key: str, url: str, mark: Mark, left: float, believed: float) -> Finding:
    return Finding(
        WARNING, "clock", key,
        f"{mark.by} has marked {url} dead for {left:.0f} s more: its clock is ahead",
        f"Workers believe a mark for {believed:.0f} s at most; older ones believe all of it.",
        "timedatectl set-ntp true",
        f"On the machine of {mark.by}:",
    )  # fmt: skip
