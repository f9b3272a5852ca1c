"""The backends that took no connection lately, as the requests tell that workers keep."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from ..balancing.explain_text import ago
from ..config.structs import Config
from ..frontends.backends import HTTP2, SOCKETS, InvalidBackendURL, parse_backend, trimmed
from ..health import Outcome, Verdict, verdict
from ..recorder.recorder import service_of
from ..recorder.rings import is_of, stories
from ..recorder.stories import Kind, Story
from ..routing import Frontend
from ..system.shared_folder import service_folders
from .findings import Commands, Finding, Severity

RECENT = 300.0
"""Seconds: what failed longer ago may be mended, though no request has shown it."""
CONNECT_WITHIN, AT_ONCE = 1.0, 64
"""Seconds for each backend that is tried, and how many are tried together."""
NO_CONNECTION = frozenset(each for each in Outcome if verdict(each) is Verdict.DEAD)


@dataclass(frozen=True, slots=True)
class Refusals:
    """Requests that got no connection to one backend, with none in between that is known to."""

    count: int
    last: Story
    cause: str
    outcome: str
    """A health.Outcome."""
    back: bool = False
    """It takes a connection from here now."""


Unreachable = Mapping[tuple[str, str], Refusals]
"""By a frontend's key and a backend's URL."""


def look(config: Config, now: float) -> Unreachable:
    """Those of the service that runs here, as far as this user may read what it keeps.

    Of requests that went well only a sample is kept. So each backend is tried: it is connected to,
    and nothing is sent.
    """
    folders = [each for each in service_folders() if is_of(each, service_of(config))]
    kept = stories(folders, (Kind.FAILED, Kind.KEPT))
    return tried(unreachable(story for story in kept if story.at > now - RECENT))


def unreachable(kept: Iterable[Story]) -> Unreachable:
    """Those whose last word in these stories is that they take no connection."""
    found: dict[tuple[str, str], Refusals] = {}
    for story in kept:
        for attempt in story.tries:
            place = story.frontend, attempt.backend
            if attempt.outcome in NO_CONNECTION:
                before = found.get(place)
                again = 0 if before is None else before.count - (before.last is story)
                found[place] = Refusals(again + 1, story, attempt.cause, attempt.outcome)
            elif attempt.head is not None:
                found.pop(place, None)
    return found


def tried(lost: Unreachable) -> Unreachable:
    """Note which of them take a connection from here now: that of TLS may fail nevertheless."""
    urls = {url for (_, url), each in lost.items() if each.outcome != Outcome.TLS_FAILURE}
    with ThreadPoolExecutor(AT_ONCE) as threads:
        takes = dict(zip(urls, threads.map(_takes_connection, urls), strict=True))
    return {place: replace(each, back=takes.get(place[1], False)) for place, each in lost.items()}


def _takes_connection(url: str) -> bool:
    try:
        backend = parse_backend(url, 0)
        if backend.scheme in SOCKETS:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(CONNECT_WITHIN)
                sock.connect(backend.host)
        else:
            socket.create_connection((backend.host, backend.port), CONNECT_WITHIN).close()
    except (InvalidBackendURL, OSError):
        return False
    return True


def of_unreachable(
    frontend: Frontend, lost: Unreachable, now: float, commands: Commands
) -> Iterator[Finding]:
    """Name the backends of one frontend. A sleeping one, which is waked, is no problem."""
    key = frontend.key
    if not lost or frontend.settings.values.get("wake") is not None:
        return
    gone = [backend for backend in frontend.backends if (key, backend.url) in lost]
    for backend in gone:
        found = lost[key, backend.url]
        asked = f"{found.count} requests, the last" if found.count > 1 else "a request"
        if len(gone) < len(frontend.backends):
            severity, effect = Severity.WARNING, "Requests go to the other backends."
        else:
            severity, effect = Severity.ERROR, "Every request for it is answered with 502"
            effect += ", calls of gRPC with UNAVAILABLE." if backend.scheme in HTTP2 else "."
        why = commands.hipache("why", found.last.id)
        told = f"{asked} {ago(max(0.0, now - found.last.at))} ago: {found.cause}"
        if found.back:
            yield Finding(
                Severity.WARNING, "backend-unreachable", key,
                f"{trimmed(backend.url)} took no connection: {told}",
                "It takes one from here now. No request that was kept has shown that.",
                advice=f"If it was started again, all is well ({why!r} tells of one request).",
            )  # fmt: skip
            continue
        yield Finding(
            severity, "backend-unreachable", key,
            f"{trimmed(backend.url)} takes no connection: {told}",
            effect,
            commands.hipache("route", "remove", key, trimmed(backend.url)),
            f"Start it, or correct its URL ({why!r} tells of one request). If it is gone for good:",
        )  # fmt: skip
