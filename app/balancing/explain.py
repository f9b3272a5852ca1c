"""What this proxy would do with a request, and why. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from ..errors import AccessUnreadable, BackendForbidden
from ..frontends.backends import ALPN, HTTP2
from ..frontends.options import Options, Policy
from ..frontends.protection import SHUT
from ..frontends.site import host_of
from ..masking import masked_url
from ..routing import Backend, Frontend, Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendState:
    """One entry of the list, as the balancer sees it. Times are Unix seconds."""

    url: str
    index: int
    state: str
    """`live`, `dead`, `on trial`, `drained`, `backup`, `denied` or `unusable`."""
    weight: float = 1.0
    in_flight: int | None = None
    """Of all workers; None if no running worker could be asked."""
    since: float | None = None
    until: float | None = None
    by: str = ""
    reason: str = ""
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Every step from a host to the backends that may be chosen."""

    host: str
    tried: tuple[str, ...]
    """Keys without a list, in the order in which they are looked up."""
    matched: str | None
    prefix: str = ""
    """That the request's path begins with, where it has a frontend of its own."""
    strips: bool = False
    """The backend is asked for the path behind it."""
    h2c: bool = False
    """Some backends speak HTTP/2 without TLS."""
    http2: bool = False
    """Backends with TLS are offered HTTP/2."""
    identifier: str = ""
    policy: str = ""
    sticky: str | None = None
    remarks: tuple[str, ...] = ()
    wake: str = ""
    """What happens when no backend lives, where there is something to tell."""
    guards: tuple[str, ...] = ()
    """What a request has to pass before a backend is chosen."""
    backends: tuple[BackendState, ...] = ()
    choice: tuple[str, ...] = ()
    """URLs one of which gets the request."""
    why: str = ""
    shares: Mapping[str, float]
    """Of new clients, for each URL of `choice`."""


def not_forwarded(host: str, keys: Sequence[str], why: str) -> Explanation:
    """The proxy answers by itself, before a frontend matched; `keys` were looked up in vain."""
    return Explanation(host=host, tried=tuple(keys), matched=None, why=why, shares={})


def explain(
    host: str,
    keys: Sequence[str],
    frontend: Frontend,
    marks: Mapping[str, Mark],
    defaults: Options,
    *,
    now: float,
    in_flight: Mapping[str, int] | None = None,
    denied: Collection[str] = (),
) -> Explanation:
    """What `frontend` and its marks come to, for a client without a cookie.

    The proxy never connects to the URLs in `denied`.
    """
    options = frontend.settings.over(defaults)
    states = tuple(
        replace(state, state="denied") if state.url in denied else state
        for state in _states(frontend, marks, options, now, in_flight)
    )
    choice, why = _choice(states, options, marks)
    protection = options.protection
    if protection is not None and protection.unreadable:
        error = AccessUnreadable(protection.unreadable, protection.unreadable_option)
        choice, why = (), f"{error.status} {error.message}"
    weights = {state.url: state.weight for state in states if state.url in choice}
    total = sum(weights.values()) or 1.0
    return Explanation(
        host=host,
        tried=tuple(keys[: list(keys).index(host_of(frontend.key))]),
        matched=frontend.key,
        prefix=frontend.prefix,
        strips=bool(frontend.prefix) and options.strip,
        h2c=any(each.scheme in HTTP2 - {ALPN} for each in frontend.backends),
        http2=options.http2 and any(each.scheme == ALPN for each in frontend.backends),
        identifier=frontend.identifier,
        policy=f"hash by {options.hash_key}" if options.policy == "hash" else options.policy,
        sticky=options.sticky,
        remarks=tuple(
            f"option {'unusable' if problem.endswith(SHUT) else 'passed over'}: {problem}"
            for problem in frontend.settings.problems
        ),
        wake=_wake(options),
        guards=tuple(protection.in_words()) if protection is not None else (),
        backends=states,
        choice=choice,
        why=why,
        shares={url: weight / total for url, weight in weights.items()},
    )


def decided(found: Explanation, url: str, why: str) -> Explanation:
    """The same, for a client whose backend is certain."""
    return replace(found, choice=(url,), shares={url: 1.0}, why=why)


def refused(found: Explanation, why: str) -> Explanation:
    """The same, for a client that the proxy turns away."""
    return replace(found, choice=(), shares={}, why=why)


def _states(
    frontend: Frontend,
    marks: Mapping[str, Mark],
    options: Options,
    now: float,
    in_flight: Mapping[str, int] | None,
) -> Iterator[BackendState]:
    entries: dict[int, BackendState] = {}
    for backend in frontend.backends:
        mark = marks.get(backend.url)
        entries[backend.index] = BackendState(
            url=backend.url,
            index=backend.index,
            state=_state(backend, mark, options, now),
            weight=options.weights.get(backend.url, 1.0),
            in_flight=None if in_flight is None else in_flight.get(backend.url, 0),
            since=mark.since if mark else None,
            until=mark.until if mark and mark.until != inf else None,
            by=mark.by if mark else "",
            reason=mark.reason if mark else "",
            failures=mark.failures if mark else 0,
        )
    for bad in frontend.bad_entries:
        entries[bad.index] = BackendState(
            url=masked_url(bad.text),
            index=bad.index,
            state="unusable",
            weight=0.0,
            reason=bad.reason,
        )
    return (entries[index] for index in sorted(entries))


def _state(backend: Backend, mark: Mark | None, options: Options, now: float) -> str:
    if mark is not None and mark.until > now:
        return "dead"
    if backend.url in options.drained or not options.weights.get(backend.url, 1.0):
        return "drained"
    if mark is not None:
        return "on trial"
    return "backup" if backend.url in options.backups else "live"


def _choice(
    states: Sequence[BackendState], options: Options, marks: Mapping[str, Mark]
) -> tuple[tuple[str, ...], str]:
    """The backends that may get a request, and why these."""

    def urls(*wanted: str) -> tuple[str, ...]:
        return tuple(state.url for state in states if state.state in wanted)

    trial = (
        "; first, one request tries " + " and ".join(urls("on trial")) if urls("on trial") else ""
    )
    if live := urls("live"):
        return live, (_ways(options) if len(live) > 1 else "the only live one") + trial
    if backups := urls("backup"):
        return backups, f"no other is live: {_ways(options)} among the backups{trial}"
    if not urls("on trial", "drained", "dead"):
        if urls("denied"):
            return (), f"{BackendForbidden.status} {BackendForbidden.message}"
        if options.wake is not None and not states:
            return (), "there is none: requests wait until one is awake"
        unusable = bool(urls("unusable"))
        return (), "502 backend is invalid" if unusable else "502 Cannot find a valid backend"
    if not options.panic or (options.wake is not None and not urls("on trial", "drained")):
        found = urls("on trial")
        if not found and options.wake is not None:
            return (), "all are dead: requests wait until one is awake"
        return found, "on trial" if found else "502 Cannot find a valid backend: panic is off"
    if resort := urls("on trial", "drained"):
        return resort[:1], "panic: none is live"
    dead = sorted(urls("dead"), key=lambda url: marks[url].since)
    return tuple(dead[:1]), "panic: all are dead, this one was marked longest ago"


def _wake(options: Options) -> str:
    if options.wake is None:
        return ""
    return f"POST {options.wake.shown}, then requests wait up to {options.wake_timeout:g} s"


def _ways(options: Options) -> str:
    match options.policy:
        case Policy.RANDOM:
            return "at random, by weight"
        case Policy.ROUND_ROBIN:
            return "in turns, by weight"
        case Policy.LEAST_CONN:
            return "of two at random, the one with fewer requests in flight"
        case Policy.LEAST_TIME:
            return "of two at random, the one expected to answer sooner"
        case Policy.HASH:
            return f"always the same one for the same {options.hash_key}"
