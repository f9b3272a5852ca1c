"""What can be wrong with the frontends and the marks that a store holds. Pure."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from math import inf

from ..errors import BadHost
from ..frontends.option_names import decides_access
from ..frontends.options import settings_of
from ..frontends.protection import SHUT, parse_protection
from ..routing import Frontend, Mark, normalise_host, parse_frontend
from ..stores.base import FOREIGN
from ..stores.inspection import Listed, MarksFound
from ..stores.table import TableError, check_key
from .findings import Commands, Finding, Severity
from .redis_server import SKEW

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE

# Nobody names a site `http://…` or `10.0.0.1:8080`.
_LOOKS_LIKE_URL = re.compile(r"[a-z+]+://|unix:/|[A-Za-z0-9_.-]+:[0-9]{1,5}/?\Z")


def of_frontend(
    key: str, listed: Listed, keys: Container[str], commands: Commands
) -> Iterator[Finding]:
    """Check one frontend. `keys` are those of all frontends."""
    frontend = parse_frontend(key, listed.rows, listed.options)
    yield from _of_key(key, keys, commands)
    if _LOOKS_LIKE_URL.match(frontend.identifier):
        yield _no_identifier(key, frontend, listed, commands)
    elif not frontend.backends:
        yield Finding(
            ERROR, "no-backend", key,
            "it has no usable backend" if frontend.size else "it has no backend",
            "Every request for it is answered with 502.",
            commands.hipache("route", "remove", key),
            "Add one with 'hipache route set', or remove the frontend:",
        )  # fmt: skip
    for bad in frontend.bad_entries if frontend.backends else ():
        yield Finding(
            ERROR, "bad-backend", key, f"row {bad.index + 1} is not a backend: {bad.reason}",
            "It gets no requests; the other backends take its share.",
            _rewritten(key, frontend, listed, commands),
        )  # fmt: skip
    yield from _duplicates(key, frontend, listed, commands)
    yield from _of_options(key, listed.options, commands)


def _of_options(key: str, options: Mapping[str, str], commands: Commands) -> Iterator[Finding]:
    access = {name: value for name, value in options.items() if decides_access(name)}
    for problem in parse_protection(access)[1]:
        yield Finding(
            ERROR, "bad-access", key, problem.removesuffix(SHUT),
            "Access is denied: every request for it is answered with 500.",
            advice="Correct the option. Removing it would open the site to everyone.",
        )  # fmt: skip
    for name, value in options.items() - access.items():
        for problem in settings_of({name: value}).problems:
            yield Finding(
                WARNING, "bad-option", key, problem,
                "It is ignored: the configuration's value for all frontends applies.",
                commands.redis("hdel", f"options:{key}", name),
            )  # fmt: skip


def _of_key(key: str, keys: Container[str], commands: Commands) -> Iterator[Finding]:
    right, why = _looked_up_as(key)
    if right == key:
        return
    advice = "A wildcard is '*.' and one to five labels, or '*' for everything." if why else ""
    mend = commands.redis("del", f"frontend:{key}")
    if right and right in keys:
        advice = f"frontend:{right} exists, too. If nothing in this one is needed:"
    elif right:
        mend = commands.redis("renamenx", f"frontend:{key}", f"frontend:{right}")
    yield Finding(
        ERROR, "wildcard-never-matches" if "*" in key else "host-never-matches", key,
        f"no request can ever match this key: {why or f'hosts are looked up as {right!r}'}",
        "Its backends get no traffic.", mend, advice,
    )  # fmt: skip


def _looked_up_as(key: str) -> tuple[str, str]:
    """The key under which such a host is looked up, or else what is wrong with it."""
    try:
        return (check_key(key) if key.startswith("*") else normalise_host(key.encode())), ""
    except TableError as exc:
        return "", str(exc).removeprefix(f"{key!r}").lstrip(": ")
    except BadHost:
        return "", "it is neither a host nor *.domain nor *"


def _no_identifier(key: str, frontend: Frontend, listed: Listed, commands: Commands) -> Finding:
    whole = parse_frontend(key, [key, *listed.rows])
    return Finding(
        ERROR, "no-identifier", key, "the first row of its list is a URL",
        f"The first row is a name for the log, so {frontend.identifier} gets no requests"
        + ("." if frontend.backends else ", and every request is answered with 502."),
        _rewritten(key, whole, listed, commands),
    )  # fmt: skip


def _duplicates(
    key: str, frontend: Frontend, listed: Listed, commands: Commands
) -> Iterator[Finding]:
    seen: dict[tuple[str, str, int], str] = {}
    for backend in frontend.backends:
        if backend.origin in seen:
            first = seen[backend.origin]
            same = "" if first == backend.url else f", as {first}"
            yield Finding(
                WARNING, "duplicate-backend", key, f"{backend.url} is listed twice{same}",
                "It gets a double share, and a retry may go to the backend that just failed.",
                _rewritten(key, frontend, listed, commands),
            )  # fmt: skip
        seen.setdefault(backend.origin, backend.url)


def _rewritten(key: str, frontend: Frontend, listed: Listed, commands: Commands) -> str:
    """The command that writes the frontend again, with each usable backend once."""
    urls = {backend.origin: backend.url for backend in reversed(frontend.backends)}
    kept = [backend.url for backend in frontend.backends if urls[backend.origin] == backend.url]
    words = ["route", "set", key, *dict.fromkeys(kept), "--id", frontend.identifier or key]
    if listed.ttl is not None:
        words += ["--ttl", str(listed.ttl)]
    return commands.hipache(*words)


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
    clear = commands.hipache("dead", "clear", key, url)
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


def of_orphan(kind: str, key: str, commands: Commands) -> Finding:
    """`options:` or `healthcheck:` of a frontend that does not exist."""
    return Finding(
        NOTE, "orphan", f"{kind}{key}", f"there is no frontend:{key}",
        "It has no effect; a new frontend of that name would start with these settings.",
        commands.redis("del", f"{kind}{key}"),
    )  # fmt: skip


def of_type(name: str, found: str, expected: str, commands: Commands) -> Finding:
    """A key of ours that holds another type. `name` is the whole key."""
    effect = {
        "list": "Every request for it is answered with 502.",
        "hash": "It is treated as empty.",
        "set": "Marks of other programs on these backends are ignored.",
    }[expected]
    if shut := "options:" in name:  # no host has a colon
        effect = "It may hold access rules, so every request for it is answered with 500."
    return Finding(
        ERROR if shut or expected == "list" else WARNING, "wrong-type", name,
        f"it is a {found}, expected a {expected}", effect,
        commands.redis("rename", name, f"broken:{name}"),
        "Rename it, so that nothing is lost, and write it again:",
    )  # fmt: skip
