"""The answers of `/api/`, from the counts of all workers and the routes that this one knows."""

from __future__ import annotations

import asyncio
import json
import time
from array import array
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..balancing.explain import explain
from ..config.defaults import default_options
from ..config.structs import Config
from ..errors import FrontendNotFound, ProxyError
from ..metrics.blocks import SummedBlocks
from ..metrics.families import (
    BACKEND,
    BAD,
    BYTES_IN,
    BYTES_OUT,
    DURATION,
    EVIDENCE,
    FRONTEND,
    GAUGE,
    HEAD,
    METHOD_CLASSES,
    OTHER,
    STATUS_CLASSES,
    UNANSWERED,
)
from ..metrics.folder import Folder, Sum
from ..metrics.page import Page
from ..metrics.shown import requests as requests_of
from ..routing import Route
from ..stores.routes import Routes
from ..system.turns import in_turns

Json = dict[str, Any]
UNKNOWN = "unknown"
LEARN_WITHIN = 0.02
"""Seconds that a scrape waits for unknown routes. The store reports changes of known ones."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the answers come from."""

    config: Config
    routes: Routes
    page: Page
    folder: Folder | None
    """None if this worker shares no counts with others."""
    collect: Callable[[], None]
    """Brings this worker's own page up to date."""

    async def sum(self) -> Sum:
        """What all workers have counted until now."""
        self.collect()
        if self.folder is not None:
            return await self.folder.sum()
        content = self.page.read()
        return Sum(SummedBlocks([content.blocks]), [content], content.texts)


async def workers(total: Sum) -> list[Json]:
    """The workers that run. Values are up to a second old."""
    found = []
    for page in sorted(total.workers, key=lambda page: (page.info["worker"], page.info["pid"])):

        def now(name: str, page: Any = page) -> float:
            return float(page.blocks.get(f"{GAUGE}\0{name}", [0.0])[0])

        requests = 0.0
        async for name in in_turns(page.blocks.of_kind(FRONTEND)):
            requests += requests_of(page.blocks[name])
        found.append({
            "worker": page.info["worker"],
            "pid": page.info["pid"],
            "state": "draining" if now("draining") else "serving",
            "started": now("started"),
            "memory": int(now("memory")),
            "loop_lag": now("lag"),
            "requests": int(requests),
            "in_flight": int(now("in_flight")),
            "connections": int(now("connections")),
            "web_sockets": int(now("web_sockets")),
            "store_contact_age": now("contact"),
        })  # fmt: skip
    return found


async def frontends(total: Sum, bounds: Sequence[float]) -> AsyncIterator[Json]:
    """The frontends that had requests; `null` stands for requests that no frontend matched."""
    async for name in in_turns(total.blocks.of_kind(FRONTEND)):
        cells, key = total.blocks[name], name.partition("\0")[2]
        if requests_of(cells):
            yield {
                "frontend": key or None,
                "others": key == OTHER,
                "requests": {
                    f"{status} {method}": int(cells[2 * row + column])
                    for row, status in enumerate(STATUS_CLASSES)
                    for column, method in enumerate(METHOD_CLASSES)
                    if cells[2 * row + column]
                },
                "bytes_in": int(cells[BYTES_IN]),
                "bytes_out": int(cells[BYTES_OUT]),
                "duration": histogram(cells[DURATION:], bounds),
            }


def histogram(cells: array[float], bounds: Sequence[float]) -> Json:
    """A histogram as JSON. Counts are not cumulative; the last bucket has no bound."""
    return {"sum": cells[0], "bounds": list(bounds), "counts": [int(n) for n in cells[1:]]}


async def backends(total: Sum, sources: Sources, only: str | None = None) -> list[Json]:
    """Each backend, with its state, of the frontends that had requests, or of the one `only`."""
    counted = await _counted(total)
    found = []
    async for key in in_turns(counted if only is None else [only]):
        route = await _route(sources, key)
        states = {} if route is None else states_of(route, sources.config)
        urls = dict.fromkeys([*states, *counted.get(key, ())])
        found += [_backend(total, sources, key, url, states.get(url)) for url in urls]
    return found


async def _counted(total: Sum) -> dict[str, list[str]]:
    """The frontends that are counted by name, with the URLs of their backends that are."""
    found: dict[str, list[str]] = {}
    async for name in in_turns(total.blocks.of_kind(FRONTEND)):
        found[name.partition("\0")[2]] = []
    async for name in in_turns(total.blocks.of_kind(BACKEND)):
        _, key, url = name.split("\0", 2)
        if key in found:
            found[key].append(url)
    return {key: urls for key, urls in found.items() if key not in ("", OTHER)}


def _backend(total: Sum, sources: Sources, key: str, url: str, known: Json | None) -> Json:
    cells = total.blocks.get("\0".join((BACKEND, key, url)))
    busy = total.blocks.get("\0".join((GAUGE, "backend_in_flight", url)))
    head = histogram(cells[HEAD:], sources.config.admin.buckets) if cells else None
    return {
        "frontend": key,
        "backend": url or None,
        "in_flight": int(busy[0]) if busy else 0,
        "unanswered": int(cells[UNANSWERED]) if cells else 0,
        "bad": int(cells[BAD]) if cells else 0,
        "evidence": int(cells[EVIDENCE]) if cells else 0,
        "time_to_head": head,
        **({"state": UNKNOWN} if known is None else known),
    }


async def _route(sources: Sources, key: str) -> Route | None:
    routes = sources.routes
    if routes.named(key) is None:
        try:
            return await routes.find_host(key)
        except FrontendNotFound:
            return None
        except ProxyError:  # the store does not say
            pass
    return routes.in_memory(key)


async def learn(sources: Sources, keys: Iterable[str]) -> None:
    """Read the routes of `keys` into memory, also those that have changed since they were read.

    Reads slower than LEARN_WITHIN go on by themselves.
    """
    unknown = [key for key in keys if key not in ("", OTHER) and sources.routes.named(key) is None]
    if unknown:
        reads = asyncio.gather(*(_route(sources, key) for key in unknown))
        with suppress(TimeoutError):
            await asyncio.wait_for(reads, LEARN_WITHIN)


def states_of(route: Route, config: Config) -> dict[str, Json]:
    """The state of each backend as the balancer sees it, and its mark if it has one, by URL."""
    found = explain(
        route.frontend.key,
        [route.frontend.key],
        route.frontend,
        route.marks,
        default_options(config),
        now=time.time(),
    )
    return {
        each.url: {
            "state": each.state,
            "weight": each.weight,
            "since": each.since,
            "until": each.until,
            "by": each.by or None,
            "reason": each.reason or None,
            "failures": each.failures,
        }
        for each in found.backends
    }


DOWN = frozenset({"dead", "on trial", "denied", "unusable"})
"""States in which a backend is not in order; one that is drained or a backup is."""


def backend_states(route: Route, config: Config) -> dict[str, str]:
    """The states alone, by URL. Quick for a frontend without marks, options and bad entries."""
    frontend = route.frontend
    if not (route.marks or frontend.options or frontend.bad_entries):
        return dict.fromkeys((backend.url for backend in frontend.backends), "live")
    return {url: each["state"] for url, each in states_of(route, config).items()}


def failures(total: Sum) -> list[Json]:
    """The latest requests that failed, the newest first."""
    found = []
    for text in total.texts:
        try:
            found.append(json.loads(text))
        except ValueError:
            continue  # a worker is overwriting it
    return sorted(found, key=lambda each: -float(each["time"]))
