"""What one worker counts. `Counters.ended` is the one place that counts a request.

To count something new:

- an event: `counters.count("limited", "rate")` adds one to the family `limited` with the label
  `rate`. Add the family to `families.COUNTERS`, with its labels and its meaning: /metrics then
  shows `hipache_limited_total{reason="rate"}`. It costs 0.3 us; labels must come from a short
  list of our own, never from a client;
- a state (connections, bytes of memory): let `collector.Collector` set it once a second;
- a module that must not know of metrics keeps a plain integer; the collector copies it here
  with `counters.total("pushes", value)`.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Sequence

from ..health import Verdict
from ..logs.record import AccessRecord
from .families import (
    BACKEND,
    BAD,
    BYTES_IN,
    BYTES_OUT,
    COUNTER,
    DURATION,
    EVIDENCE,
    FRONTEND,
    GAUGE,
    HEAD,
    HISTOGRAM,
    OTHER,
    UNANSWERED,
)
from .page import Cells, Page

MAX_FRONTENDS, MAX_BACKENDS = 2000, 4000
"""The frontends and backends that a worker counts by name: a page has room for these."""

ENOUGH = 1000
"""Requests from which on a share of the slowest says something."""

SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})
_FAILED = 500
_CLASSES = [status // 100 * 2 if status < 600 else 0 for status in range(1000)]
"""Status -> the cell of its class. A status without a class counts with the first."""


class _Frontend:
    """The cells of one frontend, and of its backends by URL."""

    __slots__ = ("backends", "cells")

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self.backends: dict[str, Cells] = {}


class Counters:
    """All numbers of one worker, in `page`. Not for use by several threads."""

    def __init__(self, page: Page, bounds: Sequence[float], *, statuses: bool = False) -> None:
        """`bounds` (seconds, ascending) are the upper ends of the histograms' buckets.

        With `statuses` every status is counted for itself, too.
        """
        self.page = page
        self._bounds = tuple(bounds)
        self._histogram = len(bounds) + 2  # their sum, and one bucket above the last bound
        self._statuses = statuses
        self._counts: dict[tuple[str, ...], Cells] = {}
        self._frontends: dict[str, _Frontend] = {}
        self._other = _Frontend(self._cells(FRONTEND, OTHER, size=DURATION + self._histogram))
        self._backends_left = MAX_BACKENDS

    # A request

    def ended(self, record: AccessRecord, method: bytes, host: bytes) -> None:
        """Count a request by its complete record. `host` is the `Host` field."""
        key, url = record.frontend, record.backend
        frontend = self._frontends.get(key) or self._frontend(key)
        cells, status = frontend.cells, record.status
        cells[_CLASSES[status] + (method not in SAFE)] += 1
        cells[BYTES_OUT] += record.bytes_out
        if record.bytes_in:
            cells[BYTES_IN] += record.bytes_in
        total = record.total_time
        cells[DURATION] += total
        cells[DURATION + 1 + bisect_left(self._bounds, total)] += 1
        if record.head_time is not None and url:
            cells = frontend.backends.get(url) or self._backend(key, frontend, url)
            cells[HEAD] += record.head_time
            cells[HEAD + 1 + bisect_left(self._bounds, record.head_time)] += 1
        if record.connect_time is not None:
            self.observe("connect", record.connect_time)
        if record.grpc_status is not None:
            self.count("grpc_calls", str(int(record.grpc_status)))
        if record.messages_in is not None:
            self.count("web_socket_messages", "client", by=record.messages_in)
            self.count("web_socket_messages", "backend", by=record.messages_out or 0)
            self.count("web_socket_closes", record.closed_by or "none")
        if record.error:
            self._failed(record, host)
        if self._statuses:
            self.count("statuses", str(status))

    def attempt_failed(
        self, key: str, url: str, reason: str, says: Verdict, *, answered: bool
    ) -> None:
        """An attempt at this backend of frontend `key` failed; `answered`: after a head.

        `says`: what that means for the backend.
        """
        frontend = self._frontends.get(key) or self._frontend(key)
        cells = frontend.backends.get(url) or self._backend(key, frontend, url)
        cells[BAD if answered else UNANSWERED] += 1
        self.count("attempt_failures", reason)
        if says is Verdict.EVIDENCE:
            cells[EVIDENCE] += 1
            self.count("evidence", reason)

    def slower_than(self, key: str, share: float) -> float | None:
        """Seconds that `share` of this frontend's requests took at most, by the histogram's bounds.

        None if that is above the last bound, or if too few have ended to say.
        """
        frontend = self._frontends.get(key)
        if frontend is None:
            return None
        counts = frontend.cells[DURATION + 1 :]
        total = sum(counts)
        if total < ENOUGH:
            return None
        below = 0.0
        for bound, count in zip(self._bounds, counts, strict=False):
            below += count
            if below >= share * total:
                return bound
        return None

    def _failed(self, record: AccessRecord, host: bytes) -> None:
        if record.status < _FAILED:
            return  # the client left, or asked for what does not exist
        self.page.add_text(
            json.dumps({
                "time": record.start, "frontend": record.frontend[:100], "host": _short(host),
                "backend": record.backend[:120] or None, "status": record.status,
                "reason": record.error[:100], "attempts": record.attempts,
                "request_id": record.request_id[:40],
            })
        )  # fmt: skip

    # Anything else

    def count(self, family: str, *labels: str, by: float = 1) -> None:
        """Add to a family of `families.COUNTERS`."""
        name = (family, *labels)
        cells = self._counts.get(name)
        if cells is None:
            cells = self._counts[name] = self._cells(COUNTER, *name, size=1)
        cells[0] += by

    def total(self, family: str, value: float, *labels: str) -> None:
        """Set a counter to what another module has counted since this worker began."""
        self.count(family, *labels, by=0)
        self._counts[family, *labels][0] = value

    def observe(self, family: str, seconds: float) -> None:
        """Add to a histogram of `families.HISTOGRAMS`."""
        name = (HISTOGRAM, family)
        cells = self._counts.get(name)
        if cells is None:
            cells = self._counts[name] = self._cells(*name, size=self._histogram)
        cells[0] += seconds
        cells[1 + bisect_left(self._bounds, seconds)] += 1

    def gauge(self, family: str, value: float, *labels: str) -> None:
        """Set a state's value as it is now."""
        name = (GAUGE, family, *labels)
        cells = self._counts.get(name)
        if cells is None:
            cells = self._counts[name] = self._cells(*name, size=1)
        cells[0] = value

    # Room

    def _frontend(self, key: str) -> _Frontend:
        # A frontend whose key is OTHER cannot be distinguished from all the others.
        if key == OTHER or len(self._frontends) >= MAX_FRONTENDS:
            return self._other
        size = DURATION + self._histogram
        cells = self.page.block("\0".join((FRONTEND, key)), size)
        if cells is None:
            return self._other
        frontend = self._frontends[key] = _Frontend(cells)
        return frontend

    def _backend(self, key: str, frontend: _Frontend, url: str) -> Cells:
        """The cells of `url`; once the page is full, one block for all others of its frontend."""
        name = OTHER if frontend is self._other else key
        if self._backends_left <= 0 or frontend is self._other:
            url = ""
        if url in frontend.backends:
            return frontend.backends[url]
        self._backends_left -= 1
        cells = self._cells(BACKEND, name, url, size=HEAD + self._histogram)
        frontend.backends[url] = cells
        return cells

    def _cells(self, *name: str, size: int) -> Cells:
        """Room in the page; once that is full, cells that nobody reads."""
        cells = self.page.block("\0".join(name), size)
        return memoryview(bytearray(8 * size)).cast("d") if cells is None else cells


def _short(host: bytes) -> str:
    return host[:100].decode("latin-1")
