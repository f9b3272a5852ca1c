"""What can be wrong with the frontends that a store holds. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping
from functools import cache

from ..errors import BadHost
from ..frontends.backends import (
    MAX_BACKENDS,
    TOO_MANY,
    oddity,
    parse_backend,
    plain_url,
    trimmed,
)
from ..frontends.option_names import decides_access
from ..frontends.protection import SHUT, parse_protection
from ..frontends.settings import settings_of
from ..frontends.site import prefix_of
from ..masking import masked_url
from ..routing import Backend, Frontend, normalise_host, parse_frontend
from ..stores.inspection import Listed
from ..stores.table import TableError, check_key
from ..system.http2_extra import lacking
from .findings import Commands, Finding, Severity

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE

# Nobody names a site `http://…` or `10.0.0.1:8080`.
_LOOKS_LIKE_URL = re.compile(r"[a-z+]+://|unix:/|[A-Za-z0-9_.-]+:[0-9]{1,5}/?\Z")


def of_frontend(
    frontend: Frontend,
    listed: Listed,
    keys: Container[str],
    objection: Callable[[Backend], object],
    commands: Commands,
) -> Iterator[Finding]:
    """Check one frontend. `keys` are those of all frontends."""
    key = frontend.key
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
    rewrite = cache(lambda: _rewritten(key, frontend, listed, commands))
    for bad in frontend.bad_entries if frontend.backends else ():
        if bad is TOO_MANY:
            yield _too_long(key, listed, commands)
            continue
        yield Finding(
            ERROR, "bad-backend", key, f"row {bad.index + 1} is not a backend: {bad.reason}",
            "It gets no requests; the other backends take its share.",
            rewrite(),
        )  # fmt: skip
    yield from _odd(key, frontend, rewrite)
    for backend in frontend.backends:
        if why := objection(backend) or lacking(backend.scheme):
            yield Finding(
                ERROR, "never-connected", key, f"{masked_url(backend.url)}: {why}",
                "A request that is sent there fails, or goes to another backend.",
                commands.hipache("route", "remove", key, trimmed(backend.url)),
            )  # fmt: skip
    service = frontend.settings.values.get("wake")
    if service is not None and (why := objection(service.backend)):
        yield Finding(
            ERROR, "wake-never-called", key, f"wake {service.shown}: {why}",
            "While no backend lives, requests wait until their time is over.",
            commands.hipache("option", "unset", key, "wake"),
        )  # fmt: skip
    yield from _duplicates(key, frontend, rewrite)
    yield from _of_options(key, listed.options, commands)
    yield from _of_named(key, frontend, commands)


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


def _of_named(key: str, frontend: Frontend, commands: Commands) -> Iterator[Finding]:
    """Options for one backend, named by a URL that the list does not have."""
    for name, problem in frontend.settings.unmatched.items():
        yield Finding(
            WARNING, "option-without-backend", key, problem,
            "The backend that was meant is used as if nothing had been said of it.",
            commands.redis("hdel", f"options:{key}", name),
            "Set it anew for the URL as it stands in the list, then take this one away:",
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
        pattern = key.startswith("*") or prefix_of(key)
        return (check_key(key) if pattern else normalise_host(key.encode())), ""
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


def _too_long(key: str, listed: Listed, commands: Commands) -> Finding:
    unused = len(listed.rows) - 1 - MAX_BACKENDS
    return Finding(
        ERROR, "long-list", key, f"its list has {len(listed.rows) - 1} backends",
        f"The first {MAX_BACKENDS} are used. The other {unused} get no requests.",
        commands.redis("ltrim", f"frontend:{key}", "0", str(MAX_BACKENDS)),
        "Split the site into several frontends, or put proxies of its own in front of its "
        "backends. To remove what gets no requests:",
    )  # fmt: skip


def _odd(key: str, frontend: Frontend, rewrite: Callable[[], str]) -> Iterator[Finding]:
    for backend in frontend.backends:
        if why := oddity(backend):
            yield Finding(
                WARNING, "odd-backend", key, f"{masked_url(backend.url)}: {why}",
                "It is served all the same; other programs may read it in another way.",
                rewrite(),
            )  # fmt: skip


def _duplicates(key: str, frontend: Frontend, rewrite: Callable[[], str]) -> Iterator[Finding]:
    seen: dict[tuple[str, str, int], str] = {}
    for backend in frontend.backends:
        if backend.origin in seen:
            first = seen[backend.origin]
            same = "" if first == backend.url else f", as {first}"
            yield Finding(
                WARNING, "duplicate-backend", key, f"{backend.url} is listed twice{same}",
                "It gets a double share, and a retry may go to the backend that just failed.",
                rewrite(),
            )  # fmt: skip
        seen.setdefault(backend.origin, backend.url)


def _rewritten(key: str, frontend: Frontend, listed: Listed, commands: Commands) -> str:
    """The command that writes the frontend again, with each usable backend once."""
    kept: dict[tuple[str, str, int], str] = {}
    for backend in frontend.backends:
        plain = plain_url(backend) if oddity(backend) else trimmed(backend.url)
        kept.setdefault(parse_backend(plain, 0).origin, plain)
    words = ["route", "set", key, *kept.values(), "--id", frontend.identifier or key]
    if listed.ttl is not None:
        words += ["--ttl", str(listed.ttl)]
    return commands.hipache(*words)


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
        "set": "Its prefixes are not served."
        if "paths:" in name
        else "Marks of other programs on these backends are ignored.",
    }[expected]
    if shut := "options:" in name:  # no host has a colon
        effect = "It may hold access rules, so every request for it is answered with 500."
    return Finding(
        ERROR if shut or expected == "list" else WARNING, "wrong-type", name,
        f"it is a {found}, expected a {expected}", effect,
        commands.redis("rename", name, f"broken:{name}"),
        "Rename it, so that nothing is lost, and write it again:",
    )  # fmt: skip
