"""`hipache top`: shows workers, frontends and backends of the proxy that runs here."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..admin.admin_client import AdminClient
from ..balancing.explain_text import ago
from ..config.file import here, load
from ..metrics.quantiles import latencies
from .cli_options import FineDuration, config_option, json_option
from .failing import one_line
from .throughput import AdminReport, Throughput, as_objects, rates

MIB = 1 << 20


@click.command()
@click.option("--once", is_flag=True, help="Print one screen and exit.")
@click.option(
    "--interval", type=FineDuration(0.1, "1m"), default="1s", show_default=True,
    help="The time over which rates are taken.",
)  # fmt: skip
@config_option
@json_option
def top(path: str | None, interval: float, *, once: bool, as_json: bool) -> None:
    """Show what the proxy does now: rates, times, errors and marks. Ctrl-C ends it.

    It asks the admin listener of the configuration (admin.bind). With --json it prints an object
    for each interval, a line each, with all frontends and backends.
    """
    with suppress(KeyboardInterrupt), one_line():
        config = load(path, os.environ, here())
        with AdminClient(config) as admin:
            if as_json:
                for found in islice(_objects(admin, interval), 1 if once else None):
                    click.echo(json.dumps(found))
                return
            screens = _screens(admin, interval)
            if once:
                Console().print(next(screens))
                return
            with Live(Text("counting ..."), screen=True, auto_refresh=False) as live:
                for screen in screens:
                    live.update(screen, refresh=True)


def _screens(admin: AdminClient, interval: float) -> Iterator[Group]:
    """One screen for each interval, without end."""
    for before, after, seconds in _reports(admin, interval):
        yield screen(before, after, seconds, time.time())


def _objects(admin: AdminClient, interval: float) -> Iterator[AdminReport]:
    """The same for programs."""
    for before, after, seconds in _reports(admin, interval):
        yield {
            "seconds": round(seconds, 3), "workers": after["workers"],
            "frontends": as_objects(
                rates(before["frontends"], after["frontends"], "frontend", "duration", seconds)
            ),
            "backends": as_objects(
                rates(before["backends"], after["backends"], "backend", "time_to_head", seconds)
            ),
        }  # fmt: skip


def _reports(
    admin: AdminClient, interval: float
) -> Iterator[tuple[AdminReport, AdminReport, float]]:
    """Two reports and the seconds between them, for each interval, without end."""
    before, then = _report(admin), time.monotonic()
    while True:
        time.sleep(max(0.0, then + interval - time.monotonic()))
        after, now = _report(admin), time.monotonic()
        yield before, after, now - then
        before, then = after, now


def _report(admin: AdminClient) -> AdminReport:
    return {part: admin.ask(f"/api/{part}") for part in ("workers", "frontends", "backends")}


def screen(before: AdminReport, after: AdminReport, seconds: float, now: float) -> Group:
    """Two reports as three tables; `seconds` lie between them, `now` is in Unix time."""
    frontends = rates(before["frontends"], after["frontends"], "frontend", "duration", seconds)
    backends = rates(before["backends"], after["backends"], "backend", "time_to_head", seconds)
    total = sum(rate.per_second for rate in frontends)
    failed = sum(rate.errors_per_second for rate in frontends)
    flying = sum(worker["in_flight"] for worker in after["workers"])
    dead = sum(each["state"] == "dead" for each in after["backends"])
    summary = f"{total:.1f} requests/s  {failed:.1f} errors/s  {flying} in flight  {dead} dead"
    return Group(
        Text(f"hipache  {summary}", style="bold"),
        _workers(before["workers"], after["workers"], seconds, now),
        _frontends(frontends),
        _backends(backends),
    )


_LEAST = {"state": 5, "p50": 7, "p99": 7}
"""Minimum widths: in a narrow terminal, names are cut before these columns."""


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        words = number == 0 or column in ("state", "backend", "why")
        table.add_column(
            column, justify="left" if words else "right", no_wrap=column != "why",
            min_width=_LEAST.get(column, 0 if words else len(column)),
        )  # fmt: skip
    return table


def _workers(
    before: list[AdminReport], after: list[AdminReport], seconds: float, now: float
) -> Table:
    table = _table(
        "WORKER", "pid", "state", "age", "memory", "req/s", "flying", "conns",
        "ws", "lag",
    )  # fmt: skip
    then = {each["pid"]: each["requests"] for each in before}
    for each in after:
        per_second = (each["requests"] - then.get(each["pid"], 0)) / seconds
        table.add_row(
            str(each["worker"]), str(each["pid"]), each["state"],
            ago(now - each["started"]), f"{each['memory'] / MIB:.0f} MB",
            f"{per_second:.1f}", str(each["in_flight"]), str(each["connections"]),
            str(each["web_sockets"]), f"{each['loop_lag'] * 1000:.0f} ms",
        )  # fmt: skip
    return table


def _frontends(found: list[Throughput]) -> Table:
    table = _table("FRONTEND", "req/s", "p50", "p99", "err/s", "in", "out")
    for rate in found[:20]:
        entry = rate.now
        name = "(others)" if entry["others"] else entry["frontend"] or "(none matched)"
        table.add_row(
            Text(name), f"{rate.per_second:.1f}", *latencies(rate.buckets, rate.bounds),
            _alarming(rate.errors_per_second), f"{entry['bytes_in'] / MIB:.1f} MB",
            f"{entry['bytes_out'] / MIB:.1f} MB",
        )  # fmt: skip
    return table


def _backends(found: list[Throughput]) -> Table:
    table = _table("FRONTEND", "backend", "state", "ans/s", "p50", "p99", "err/s", "flying", "why")
    found.sort(key=lambda rate: (rate.now["state"] != "dead", -rate.per_second))
    for rate in found[:30]:
        entry = rate.now
        table.add_row(
            Text(entry["frontend"]), Text(entry["backend"] or "(others)"),
            Text(entry["state"], style="red" if entry["state"] == "dead" else ""),
            f"{rate.per_second:.1f}", *latencies(rate.buckets, rate.bounds),
            _alarming(rate.errors_per_second), str(entry["in_flight"]),
            Text((entry.get("reason") or "").partition(":")[0]),
        )  # fmt: skip
    return table


def _alarming(errors: float) -> Text:
    return Text(f"{errors:.1f}", style="red" if errors else "")
