"""What can be wrong with the frontends and the marks that a store holds. Pure."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from math import inf

from ..errors import BadHost
from ..frontends.options import settings_of
from ..frontends.protection import SHUT, decides_who_enters, parse_protection
from ..routing import Frontend, Mark, normalise_host, parse_frontend
from ..stores.base import FOREIGN
from ..stores.inspection import Listed, MarksFound
from ..stores.table import TableError, check_key
from .findings import Commands, Finding, Severity

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE

# `http://…` and `10.0.0.1:8080` are no names that anybody gives to a site.
_LOOKS_LIKE_URL = re.compile(r"[a-z+]+://|unix:/|[A-Za-z0-9_.-]+:[0-9]{1,5}/?\Z")


def of_frontend(
    key: str, listed: Listed, keys: Container[str], commands: Commands
) -> Iterator[Finding]:
    """Everything about one list. `keys`: of all frontends."""
    frontend = parse_frontend(key, listed.rows, listed.options)
    yield from _of_key(key, keys, commands)
    if _LOOKS_LIKE_URL.match(frontend.identifier):
        yield _no_identifier(key, frontend, listed, commands)
    elif not frontend.backends:
        yield Finding(
            ERROR, "no-backend", key,
            "it has no backend that can be used" if frontend.size else "it has no backend",
            "Every request for it is answered 502.",
            commands.hipache("route", "remove", key),
            "Add one with 'hipache route set', or take the frontend away:",
        )  # fmt: skip
    for bad in frontend.bad_entries if frontend.backends else ():
        yield Finding(
            ERROR, "bad-backend", key, f"row {bad.index + 1} is no backend: {bad.reason}",
            "No request goes there; the other backends carry its share.",
            _rewritten(key, frontend, listed, commands),
        )  # fmt: skip
    yield from _duplicates(key, frontend, listed, commands)
    yield from _of_options(key, listed.options, commands)


def _of_options(key: str, options: Mapping[str, str], commands: Commands) -> Iterator[Finding]:
    access = {name: value for name, value in options.items() if decides_who_enters(name)}
    for problem in parse_protection(access)[1]:
        yield Finding(
            ERROR, "bad-access", key, problem.removesuffix(SHUT),
            "Nobody may enter: every request for it is answered 500.",
            advice="Set the option right. To take it away would open the site to everybody.",
        )  # fmt: skip
    for name, value in options.items() - access.items():
        for problem in settings_of({name: value}).problems:
            yield Finding(
                WARNING, "bad-option", key, problem,
                "It is passed over: what the configuration says for all frontends holds.",
                commands.redis("hdel", f"options:{key}", name),
            )  # fmt: skip


def _of_key(key: str, keys: Container[str], commands: Commands) -> Iterator[Finding]:
    right, why = _looked_up_as(key)
    if right == key:
        return
    advice = "A wildcard is '*.' and one to five labels, or '*' for everything." if why else ""
    mend = commands.redis("del", f"frontend:{key}")
    if right and right in keys:
        advice = f"frontend:{right} is there, too. If nothing in this one is still needed:"
    elif right:
        mend = commands.redis("renamenx", f"frontend:{key}", f"frontend:{right}")
    yield Finding(
        ERROR, "wildcard-never-matches" if "*" in key else "host-never-matches", key,
        f"no request can ever match this key: {why or f'hosts are looked up as {right!r}'}",
        "Its backends get no traffic.", mend, advice,
    )  # fmt: skip


def _looked_up_as(key: str) -> tuple[str, str]:
    """The key that requests for such a host look for, or what is wrong with it."""
    try:
        return (check_key(key) if key.startswith("*") else normalise_host(key.encode())), ""
    except TableError as exc:
        return "", str(exc).removeprefix(f"{key!r}").lstrip(": ")
    except BadHost:
        return "", "it is no host, no *.domain and not *"


def _no_identifier(key: str, frontend: Frontend, listed: Listed, commands: Commands) -> Finding:
    whole = parse_frontend(key, [key, *listed.rows])
    return Finding(
        ERROR, "no-identifier", key, "the first row of its list is a URL",
        f"The first row is a name for the log, so {frontend.identifier} is never asked"
        + ("." if frontend.backends else ", and every request is answered 502."),
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
                WARNING, "duplicate-backend", key, f"{backend.url} is there twice{same}",
                "It gets a double share, and a retry may go to the backend that just failed.",
                _rewritten(key, frontend, listed, commands),
            )  # fmt: skip
        seen.setdefault(backend.origin, backend.url)


def _rewritten(key: str, frontend: Frontend, listed: Listed, commands: Commands) -> str:
    """The frontend with all that can be used of it, each backend once."""
    urls = {backend.origin: backend.url for backend in reversed(frontend.backends)}
    kept = [backend.url for backend in frontend.backends if urls[backend.origin] == backend.url]
    words = ["route", "set", key, *dict.fromkeys(kept), "--id", frontend.identifier or key]
    if listed.ttl is not None:
        words += ["--ttl", str(listed.ttl)]
    return commands.hipache(*words)


def of_marks(key: str, found: MarksFound, now: float, commands: Commands) -> Iterator[Finding]:
    """Everything about the marks under `key`, a frontend's or a requested host's."""
    frontend = found.frontend
    if frontend is None:
        yield Finding(
            WARNING, "stale-mark", key, "marks are left of a frontend that is gone",
            "A frontend of that name would begin with backends that count as dead.",
            commands.redis("del", f"dead:{key}", f"dead-info:{key}"),
        )  # fmt: skip
        return
    for number in found.ids:
        if not (number.isdecimal() and int(number) < frontend.size):
            yield Finding(
                WARNING, "stale-mark", key,
                f"backend number {number} is marked dead, but its list has {frontend.size}",
                "A backend that is added later would begin as a dead one.",
                commands.redis("srem", f"dead:{key}", number),
            )  # fmt: skip
    live = {backend.url: backend for backend in frontend.backends}
    dead = {url: mark for url, mark in found.marks.items() if url in live and mark.until > now}
    for url, mark in dead.items():
        if mark.by == FOREIGN:
            yield _foreign(key, url, mark, now, commands)
    if dead and len(dead) == len(live):
        reasons = "; ".join(sorted({mark.reason for mark in dead.values()}))
        yield Finding(
            ERROR, "all-dead", key, f"all its backends are marked dead: {reasons}",
            "Requests go to the one that was marked longest ago (balance.panic), or get 502.",
            commands.hipache("dead", "clear", key),
            "Bring the backends back; a mark ends with the first request that succeeds. "
            "Or, if they are well:",
        )  # fmt: skip


def _foreign(key: str, url: str, mark: Mark, now: float, commands: Commands) -> Finding:
    clear = commands.hipache("dead", "clear", key, url)
    if mark.until == inf:
        return Finding(
            ERROR, "foreign-mark", key, f"{url} is marked dead for ever by another program",
            f"It gets no request until somebody takes the mark away: dead:{key} has no expiry.",
            clear,
        )  # fmt: skip
    return Finding(
        NOTE, "foreign-mark", key,
        f"{url} is marked dead by another program, for {mark.until - now:.0f} s more",
        "It gets no request until then. An old Hipache or a health checker uses the same store.",
        clear, "If that backend is well:",
    )  # fmt: skip


def of_orphan(kind: str, key: str, commands: Commands) -> Finding:
    """`options:` or `healthcheck:` of a frontend that does not exist."""
    return Finding(
        NOTE, "orphan", f"{kind}{key}", f"there is no frontend:{key}",
        "Nobody reads it; a frontend of that name would begin with these settings.",
        commands.redis("del", f"{kind}{key}"),
    )  # fmt: skip


def of_type(name: str, found: str, expected: str, commands: Commands) -> Finding:
    """A key under one of our prefixes that holds something else. `name` is the whole key."""
    effect = {
        "list": "Every request for it is answered 502.",
        "hash": "It is taken for empty.",
        "set": "Marks of other programs on these backends are not seen.",
    }[expected]
    if shut := "options:" in name:  # no host has a colon
        effect = "It may have held who may enter, so every request for it is answered 500."
    return Finding(
        ERROR if shut or expected == "list" else WARNING, "wrong-type", name,
        f"it is a {found}, expected a {expected}", effect,
        commands.redis("rename", name, f"broken:{name}"),
        "Put it aside, so that nothing is lost, and write it anew:",
    )  # fmt: skip
