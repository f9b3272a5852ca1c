"""The counters of one worker and the listener that shows them, while the worker runs."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from ..config.admin import AdminBind
from ..config.structs import Config
from ..metrics.collector import Collector
from ..metrics.counters import Counters
from ..metrics.folder import Folder
from ..metrics.page import Page
from ..server.listeners import close_all
from ..server.running import listening
from ..server.shared_loads import SharedLoads
from ..stores.routes import Routes
from ..system.loop_lag import LoopLag
from ..system.shared_folder import remove_service_folder
from ..upstream.destinations import Bound
from .admin_listener import AdminListener
from .paths import admin_application
from .state import Sources

logger = logging.getLogger("hipache.metrics")

SERVED = "served"
"""The note that the worker with the admin listener leaves for its siblings."""


@dataclass(slots=True)
class Supervision:
    """What `hipache serve` gives each of its workers."""

    admin: socket.socket | None
    """The admin listener that all of them share; None where it could not be bound."""
    pid: int
    """The supervisor's. A worker that outlives it has another parent, so getppid() would not do."""
    loads: SharedLoads | None = None
    """By what the workers share new connections; None where they take what comes."""
    listener: AdminListener | None = None
    """In a worker: what answers at `admin`."""

    def hand_over(self) -> None:
        """In a worker that drains: another supervisor's workers answer from now on.

        Were both to answer, counters would jump between what either has counted.
        """
        if self.listener is not None:
            self.listener.stop_listening()

    def close(self) -> None:
        """Release what the workers shared. The supervisor calls this after its last worker."""
        if self.admin is not None:
            close_all([self.admin])
        remove_service_folder(self.pid)


def supervisor_of(supervision: Supervision | None) -> int | None:
    """The process that is the same for all workers of `hipache serve`; None for others."""
    return None if supervision is None else supervision.pid


class Metering:
    """The counters of one worker, the page that holds them, and the admin listener."""

    def __init__(
        self, config: Config, supervision: Supervision | None, number: int, shared: Path | None
    ) -> None:
        """`shared` is the folder that all workers share, None if they share none."""
        self._config = config
        self._supervision = supervision
        self._folder, self.page = _page(shared, {"worker": number, "pid": os.getpid()})
        self.counters = Counters(self.page, config.admin.buckets, statuses=config.admin.planb_names)
        self.listener: AdminListener | None = None
        self._where = _addresses(config.admin.bind)

    def listening(self) -> list[tuple[int, object]]:
        """Family and name of the admin listener, this worker's own or a sibling's.

        Empty if no worker listens: another program may have the configured address.
        """
        if self.listener is not None and self.listener.bound is not None:
            return [self.listener.bound]
        return self._where if self._folder is not None and self._folder.has_note(SERVED) else []

    def _note_served(self) -> None:
        if self._folder is not None:
            self._folder.leave_note(SERVED)

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
        """Collect the metrics and serve them. The arguments are those of Sources and Collector."""
        collector = Collector(self.counters, lag, gauges=gauges, totals=totals, busy=busy)
        bind = self._config.admin.bind
        if self._folder is not None:
            await self._folder.sum()  # adds up what ended workers left, even if nobody asks
        async with collector:
            if bind is None or (self._supervision is not None and self._supervision.admin is None):
                yield
                return
            sources = Sources(self._config, routes, self.page, self._folder, collector.collect)
            shared = None if self._supervision is None else self._supervision.admin
            self.listener = AdminListener(
                admin_application(sources), bind, shared, self._note_served
            )
            if self._supervision is not None:
                self._supervision.listener = self.listener
            async with self.listener:
                yield

    def close(self) -> None:
        """Release the page when the worker ends. Its counts stay for the others."""
        self.page.close()


@contextmanager
def metering(
    config: Config, supervision: Supervision | None, number: int, shared: Path | None
) -> Iterator[Metering | None]:
    """Yields None if `admin.bind` is null: without a listener nothing is counted.

    `shared` is the folder that all workers share.
    """
    if config.admin.bind is None:
        yield None
        return
    meter = Metering(config, supervision, number, shared)
    try:
        yield meter
    finally:
        meter.close()


def own_listeners(
    config: Config, server: uvicorn.Server | None, meter: Metering | None
) -> list[Bound]:
    """The addresses of this proxy: no request to a backend and no check may go there."""
    path = config.server.status_socket
    status = [] if path is None else [(int(socket.AF_UNIX), path)]
    return [*listening(server), *(meter.listening() if meter is not None else ()), *status]


def _addresses(bind: AdminBind | None) -> list[tuple[int, object]]:
    """The configured addresses; none if the kernel chooses the port."""
    if bind is None:
        return []
    host, port = bind.value
    if host.startswith("/"):
        return [(int(socket.AF_UNIX), host)]
    with contextlib.suppress(OSError):  # the listener reports it
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [(int(family), name) for family, *_, name in found if port]
    return []


def _page(shared: Path | None, info: dict[str, Any]) -> tuple[Folder | None, Page]:
    """A page in the folder that all workers share, or in private memory if that fails."""
    if shared is None:
        return None, Page(info)
    try:
        folder = Folder(shared)
        return folder, folder.new_page(info)
    except OSError as exc:
        logger.warning("metrics show this worker only cause=%s", exc)
        return None, Page(info)
