"""What `hipache top` shows: three tables, as many rows and columns as a terminal has room for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple, TypeAlias

from rich.console import Group
from rich.table import Table
from rich.text import Text

from ..balancing.explain_text import ago
from ..masking import printable
from ..metrics.quantiles import latencies, quantile
from .throughput import AdminReport, Throughput, rates

MIB = 1 << 20
SORTS = ("requests", "errors", "p99", "name")
MOST_WORKERS = 4
"""Workers that have a row where rows are scarce."""
SMALL, WIDE = 75, 110
"""Characters of a line from which the first, and then all of what is left out is shown."""


@dataclass(frozen=True, slots=True)
class TopView:
    """What somebody wants to see."""

    sort: str = SORTS[0]
    filter: str = ""
    """A part of the names that are shown, in lower case."""
    width: float = inf
    height: float = inf
    """Of the terminal, in characters; infinite where nothing is cut."""
    footer: str = ""


class _Column(NamedTuple):
    name: str
    left: bool = False
    since: int = 0
    """Left out of shorter lines."""


_Cell: TypeAlias = str | Text
_WORKER = (
    _Column("WORKER", left=True), _Column("pid", since=SMALL), _Column("state", left=True),
    _Column("age"), _Column("memory"), _Column("req/s"), _Column("flying"),
    _Column("conns", since=SMALL), _Column("ws", since=SMALL), _Column("lag"),
)  # fmt: skip
_FRONTEND = (
    _Column("FRONTEND", left=True), _Column("req/s"), _Column("p50"), _Column("p99"),
    _Column("err/s"), _Column("in", since=WIDE), _Column("out", since=WIDE),
)  # fmt: skip
_BACKEND = (
    _Column("FRONTEND", left=True), _Column("backend", left=True), _Column("state", left=True),
    _Column("ans/s"), _Column("p50", since=WIDE), _Column("p99"), _Column("err/s"),
    _Column("flying", since=WIDE), _Column("why", left=True, since=WIDE),
)  # fmt: skip
_NAMES = ("FRONTEND", "backend", "why")
"""Columns that are cut where a line is too long."""


def all_rates(
    before: AdminReport, after: AdminReport, seconds: float
) -> tuple[list[Throughput], list[Throughput]]:
    """Of frontends and of backends, between two reports."""
    return (
        rates(before["frontends"], after["frontends"], "frontend", "duration", seconds),
        rates(before["backends"], after["backends"], "backend", "time_to_head", seconds),
    )


def screen(
    before: AdminReport, after: AdminReport, seconds: float, now: float, view: TopView
) -> Group:
    """Two reports as three tables; `seconds` lie between them, `now` is in Unix time."""
    frontends, backends = all_rates(before, after, seconds)
    total = sum(rate.per_second for rate in frontends)
    failed = sum(rate.errors_per_second for rate in frontends)
    flying = sum(worker["in_flight"] for worker in after["workers"])
    dead = sum(each["state"] == "dead" for each in after["backends"])
    summary = f"{total:.1f} requests/s  {failed:.1f} errors/s  {flying} in flight  {dead} dead"
    workers = _worker_rows(before["workers"], after["workers"], seconds, now)
    frontends, backends = wanted(frontends, view), wanted(backends, view)
    if view.sort == SORTS[0]:
        backends.sort(key=lambda rate: rate.now["state"] != "dead")
    room = view.height - 2 - min(len(workers), MOST_WORKERS) - 3  # their heads
    of_frontends = max(1, room - min(len(backends), room // 2)) if room < inf else inf
    return Group(
        _line(f"hipache  {summary}", "bold", view),
        _table(_WORKER, workers, MOST_WORKERS if room < inf else inf, view),
        _table(_FRONTEND, map(_frontend_row, frontends), of_frontends, view),
        _table(
            _BACKEND, map(_backend_row, backends),
            max(1, room - min(of_frontends, len(frontends))) if room < inf else inf, view,
        ),
        *([_line(view.footer, "reverse", view)] if view.footer else []),
    )  # fmt: skip


def _line(text: str, style: str, view: TopView) -> Text:
    line = Text(printable(text), style=style, no_wrap=True, overflow="ellipsis")
    if view.width < inf:
        line.truncate(int(view.width), overflow="ellipsis")
    return line


def wanted(found: list[Throughput], view: TopView) -> list[Throughput]:
    """Those whose name holds the filter, sorted as asked; they come the busiest first."""
    found = [rate for rate in found if view.filter in _names(rate).lower()]
    if view.sort == "errors":
        found.sort(key=lambda rate: -rate.errors_per_second)
    elif view.sort == "p99":
        found.sort(key=lambda rate: -(quantile(0.99, rate.buckets, rate.bounds) or 0.0))
    elif view.sort == "name":
        found.sort(key=_names)
    return found


def _names(rate: Throughput) -> str:
    """What a filter looks at: the frontend, and the backend if it is one."""
    entry = rate.now
    frontend = _frontend_name(entry) if "others" in entry else entry["frontend"]
    return f"{frontend} {entry.get('backend') or ''}"


def _table(
    columns: Sequence[_Column], rows: Iterable[Sequence[_Cell]], most: float, view: TopView
) -> Table:
    """`most` rows at most; the last one tells how many more there are."""
    shown = [number for number, each in enumerate(columns) if view.width >= each.since]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number in shown:
        column = columns[number]
        name = column.name in _NAMES
        table.add_column(
            column.name, justify="left" if column.left else "right", no_wrap=True,
            overflow="ellipsis" if name else "crop",
            min_width=4 if name else len(column.name),
        )  # fmt: skip
    cells = list(rows)
    if len(cells) > most:
        left = len(cells) - int(most) + 1
        cells = [*cells[: int(most) - 1], [f"and {left} more", *[""] * (len(columns) - 1)]]
    for row in cells:
        table.add_row(*(row[number] for number in shown))
    return table


def _worker_rows(
    before: list[AdminReport], after: list[AdminReport], seconds: float, now: float
) -> list[Sequence[_Cell]]:
    then = {each["pid"]: each["requests"] for each in before}
    return [
        (
            str(each["worker"]), str(each["pid"]), each["state"], ago(now - each["started"]),
            f"{each['memory'] / MIB:.0f} MB",
            f"{(each['requests'] - then.get(each['pid'], 0)) / seconds:.1f}",
            str(each["in_flight"]), str(each["connections"]), str(each["web_sockets"]),
            f"{each['loop_lag'] * 1000:.0f} ms",
        )
        for each in after
    ]  # fmt: skip


def _frontend_name(entry: AdminReport) -> str:
    return "(others)" if entry["others"] else entry["frontend"] or "(none matched)"


def _frontend_row(rate: Throughput) -> Sequence[_Cell]:
    entry = rate.now
    return (
        Text(printable(_frontend_name(entry))), f"{rate.per_second:.1f}",
        *latencies(rate.buckets, rate.bounds), _alarming(rate.errors_per_second),
        f"{entry['bytes_in'] / MIB:.1f} MB", f"{entry['bytes_out'] / MIB:.1f} MB",
    )  # fmt: skip


def _backend_row(rate: Throughput) -> Sequence[_Cell]:
    entry = rate.now
    return (
        Text(printable(entry["frontend"])), Text(printable(entry["backend"] or "(others)")),
        Text(entry["state"], style="red" if entry["state"] == "dead" else ""),
        f"{rate.per_second:.1f}", *latencies(rate.buckets, rate.bounds),
        _alarming(rate.errors_per_second), str(entry["in_flight"]),
        Text(printable((entry.get("reason") or "").partition(":")[0])),
    )  # fmt: skip


def _alarming(errors: float) -> Text:
    return Text(f"{errors:.1f}", style="red" if errors else "")
