"""The counters of one worker and the listener that tells them, for as long as the worker lives."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from ..config.admin import AdminBind
from ..config.structs import Config
from ..metrics.collector import Collector
from ..metrics.counters import Counters
from ..metrics.folder import Folder
from ..metrics.pages import Page
from ..server.listeners import close_all
from ..stores.routes import Routes
from ..system.loop_lag import LoopLag
from .application import admin_application
from .listener import AdminListener
from .state import Sources

logger = logging.getLogger("hipache.metrics")

SERVED = "served"
"""What the worker that has the admin listener notes for its siblings."""


@dataclass(frozen=True, slots=True)
class Supervision:
    """What `hipache serve` gives each of its workers."""

    admin: socket.socket | None
    """The admin listener that all of them share; None where it could not be bound."""
    pid: int
    """Of the supervisor; a worker that outlives it has another parent."""

    def close(self) -> None:
        """For the supervisor, when its last worker has gone."""
        if self.admin is not None:
            close_all([self.admin])
            with contextlib.suppress(OSError):
                Folder.of(self.pid).remove()


class Metering:
    """The counters, and where they are kept."""

    def __init__(self, config: Config, supervision: Supervision | None, number: int) -> None:
        self._config = config
        self._supervision = supervision
        self._folder, self.page = _page(supervision, {"worker": number, "pid": os.getpid()})
        self.counters = Counters(self.page, config.admin.buckets, statuses=config.admin.planb_names)
        self.listener: AdminListener | None = None
        self._where = _addresses(config.admin.bind)

    def listening(self) -> list[tuple[int, object]]:
        """Family and name of the admin listener, be it this worker's or a sibling's.

        Not what the configuration says: another program may have that address.
        """
        if self.listener is not None and self.listener.bound is not None:
            return [self.listener.bound]
        return self._where if self._folder is not None and self._folder.has(SERVED) else []

    def _say_served(self) -> None:
        if self._folder is not None:
            self._folder.note(SERVED)

    @asynccontextmanager
    async def reporting(
        self,
        routes: Routes,
        lag: LoopLag,
        *,
        gauges: Mapping[str, Callable[[], float]],
        totals: Mapping[str, Callable[[], float]],
        busy: Callable[[], Iterable[tuple[str, int]]],
    ) -> AsyncIterator[None]:
        """Collect, and answer on the listener. The arguments are those of Sources and Collector."""
        collector = Collector(self.counters, lag, gauges=gauges, totals=totals, busy=busy)
        bind = self._config.admin.bind
        if self._folder is not None:
            await self._folder.sum()  # for what predecessors left, should nobody ever ask
        async with collector:
            if bind is None or (self._supervision is not None and self._supervision.admin is None):
                yield
                return
            sources = Sources(self._config, routes, self.page, self._folder, collector.collect)
            shared = None if self._supervision is None else self._supervision.admin
            self.listener = AdminListener(
                admin_application(sources), bind, shared, self._say_served
            )
            async with self.listener:
                yield

    def close(self) -> None:
        """The worker ends; what it counted stays for the others."""
        self.page.close()
        alone = self._supervision is None and multiprocessing.parent_process() is None
        if self._folder is not None and alone:
            self._folder.remove()


@contextmanager
def metering(
    config: Config, supervision: Supervision | None, number: int
) -> Iterator[Metering | None]:
    """None where `admin.bind` is null: then nobody could ask, and nothing is counted."""
    if config.admin.bind is None:
        yield None
        return
    meter = Metering(config, supervision, number)
    try:
        yield meter
    finally:
        meter.close()


def _addresses(bind: AdminBind | None) -> list[tuple[int, object]]:
    """Where the configuration puts it; nowhere as long as the kernel is to choose the port."""
    if bind is None:
        return []
    host, port = bind.value
    if host.startswith("/"):
        return [(int(socket.AF_UNIX), host)]
    with contextlib.suppress(OSError):  # the listener says so
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [(int(family), name) for family, *_, name in found if port]
    return []


def _page(supervision: Supervision | None, info: dict[str, Any]) -> tuple[Folder | None, Page]:
    """In the folder that all workers of this proxy share; in our own memory if there is no room."""
    parent = multiprocessing.parent_process()
    if supervision is not None:
        owner = supervision.pid
    else:
        owner = os.getpid() if parent is None or parent.pid is None else parent.pid
    try:
        folder = Folder.of(owner)
        return folder, folder.new_page(info)
    except (OSError, psutil.NoSuchProcess) as exc:
        logger.warning("metrics of this worker alone cause=%s", exc)
        return None, Page(info)
