"""What each page shows, by the names that its template uses."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ...errors import HipacheError
from ...recorder.telling import is_of, told
from ...stores.journal import RouteChange
from ...stores.table import existing, without_secrets
from ...stores.table_difference import in_words
from .. import state
from .desk import Desk, closed, gauge, in_flight
from .pace import Lookback, Pace

Context = dict[str, Any]

SOON = 14.0
"""Days before its end from which a certificate needs attention."""
FAILING = 0.05
"""The share of failed requests from which a site needs attention."""
ROWS = 50
TOP = 10
_NOTHING: Mapping[str, str] = MappingProxyType({})


class View(ABC):
    """One page. What is chosen when it is made stays while the page is open."""

    template: str
    lives = True
    """Whether an open page is told what has changed."""
    shared = False
    """Whether it shows the same to all who look."""

    @abstractmethod
    async def context(self, desk: Desk, window: Lookback) -> Context:
        """What the template is given."""


@dataclass(frozen=True, slots=True)
class SiteRow:
    """One frontend in a list."""

    key: str
    pace: Pace
    backends: int | None = None
    down: int = 0
    in_flight: int = 0
    closed: str = ""
    """`maintenance` or `paused`."""


@dataclass(frozen=True, slots=True)
class BackendRow:
    """One backend in a list."""

    key: str
    url: str
    pace: Pace
    state: state.Json = field(default_factory=dict)
    in_flight: int = 0


class Overview(View):
    """What goes on, and what needs somebody's attention."""

    template = "overview.html"
    shared = True

    async def context(self, desk: Desk, window: Lookback) -> Context:
        sites = [SiteRow(key, window.frontend(key)) for key in await window.busiest(TOP)]
        failing = [
            SiteRow(key, pace, closed=desk.closed(key))
            for key in await window.failing(TOP)
            if (pace := window.frontend(key)).share_failed >= FAILING
        ]
        now = time.time()
        certificates = [
            each for each in await desk.certificates()
            if each.problem or (each.days(now) or 0.0) < SOON
        ]  # fmt: skip
        down = [BackendRow(key, url, Pace(), each) async for key, url, each in desk.down(window)]
        return {
            "whole": await window.whole(), "sites": sites, "failing": failing, "down": down[:ROWS],
            "slowest": [
                BackendRow(key, url, window.backend(key, url), in_flight=in_flight(window, url))
                for key, url in await window.slowest(TOP)
            ],
            "workers": await state.workers(window.after),
            "failures": (await desk.failures())[:TOP], "certificates": certificates[:TOP],
            "in_flight": gauge(window, "in_flight"), "connections": gauge(window, "connections"),
            "web_sockets": gauge(window, "web_sockets"), "queued": gauge(window, "queued"),
            "store": desk.store(), "trouble": desk.store_trouble(), "now": now,
        }  # fmt: skip


class OneFrontend(View):
    """One frontend: its backends, what it says of itself, what became of it."""

    template = "frontend.html"

    def __init__(
        self, key: str, problem: str = "", done: str = "", typed: Mapping[str, str] = _NOTHING
    ) -> None:
        """`typed`: the fields of a form that was refused, by their names."""
        self.key, self.problem, self.done, self.typed = key, problem, done, typed

    async def context(self, desk: Desk, window: Lookback) -> Context:
        key = self.key
        entry = existing(await desk.entries([key]), key)
        states = await desk.states(key)
        urls = list(states) or list(entry.backends if entry else ())
        return {
            "key": key, "entry": entry, "pace": window.frontend(key),
            "closed": closed(entry.options if entry else {}),
            "options": {} if entry is None else without_secrets(entry.options),
            "backends": [
                BackendRow(
                    key, url, window.backend(key, url), states.get(url, {"state": state.UNKNOWN}),
                    in_flight(window, url),
                )
                for url in urls
            ],
            "failures": [each for each in await desk.failures() if is_of(each, key)][:TOP],
            "changes": await _changes(desk, key),
            "problem": self.problem, "done": self.done, "typed": self.typed, "now": time.time(),
        }  # fmt: skip


async def _changes(desk: Desk, key: str) -> list[tuple[RouteChange, list[str]]]:
    try:
        async with desk.table() as table:
            return [(each, list(in_words(each))) for each in await table.journal(key, TOP)]
    except HipacheError:
        return []


class Failures(View):
    """The requests that failed, each with its story."""

    template = "failures.html"
    lives = False  # a story that somebody reads stays where it is

    def __init__(self, host: str, page: int, *, refused: bool) -> None:
        self.host, self.page, self.refused = host.strip().lower(), max(1, page), refused

    async def context(self, desk: Desk, window: Lookback) -> Context:
        found = [
            each for each in await desk.failures(refused=self.refused)
            if not self.host or is_of(each, self.host)
        ]  # fmt: skip
        first = (self.page - 1) * ROWS
        return {
            "rows": [(each, list(told(each))) for each in found[first : first + ROWS]],
            "count": len(found), "page": self.page, "pages": max(1, -(-len(found) // ROWS)),
            "host": self.host, "refused": self.refused,
            "recorded": desk.config.server.flight_recorder and desk.sources.folder is not None,
        }  # fmt: skip


class Certificates(View):
    """When certificates end, and which could not be ordered."""

    template = "certificates.html"
    lives = False

    async def context(self, desk: Desk, window: Lookback) -> Context:
        return {
            "certificates": await desk.certificates(), "orders": desk.orders(),
            "now": time.time(), "soon": SOON, "tls": bool(desk.config.https.binds),
        }  # fmt: skip
