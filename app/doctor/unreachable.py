"""The backends that took no connection lately, as the requests tell that workers keep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..balancing.explain_text import ago
from ..config.structs import Config
from ..frontends.backends import HTTP2, trimmed
from ..health import Outcome, Verdict, verdict
from ..recorder.recorder import service_of
from ..recorder.rings import is_of, stories
from ..recorder.stories import Kind, Story
from ..routing import Frontend
from ..system.shared_folder import service_folders
from .findings import Commands, Finding, Severity

RECENT = 300.0
"""Seconds: what failed longer ago may be mended, though no request has shown it."""
NO_CONNECTION = frozenset(each for each in Outcome if verdict(each) is Verdict.DEAD)


@dataclass(frozen=True, slots=True)
class Refusals:
    """Requests that got no connection to one backend, with none in between that did."""

    count: int
    last: Story
    cause: str


Unreachable = Mapping[tuple[str, str], Refusals]
"""By a frontend's key and a backend's URL."""


def look(config: Config, now: float) -> Unreachable:
    """Those of the service that runs here, as far as this user may read what it keeps."""
    folders = [each for each in service_folders() if is_of(each, service_of(config))]
    kept = stories(folders, (Kind.FAILED, Kind.KEPT))
    return unreachable(story for story in kept if story.at > now - RECENT)


def unreachable(kept: Iterable[Story]) -> Unreachable:
    """Those whose last word in these stories is that they take no connection."""
    found: dict[tuple[str, str], Refusals] = {}
    for story in kept:
        for attempt in story.tries:
            place = story.frontend, attempt.backend
            if attempt.outcome in NO_CONNECTION:
                before = found.get(place)
                again = 0 if before is None else before.count - (before.last is story)
                found[place] = Refusals(again + 1, story, attempt.cause)
            elif attempt.head is not None:
                found.pop(place, None)
    return found


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
        yield Finding(
            severity, "backend-unreachable", key,
            f"{trimmed(backend.url)} takes no connection: "
            f"{asked} {ago(max(0.0, now - found.last.at))} ago: {found.cause}",
            effect,
            commands.hipache("route", "remove", key, trimmed(backend.url)),
            f"Start it, or correct its URL ({why!r} tells of one request). If it is gone for good:",
        )  # fmt: skip
