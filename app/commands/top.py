"""`hipache top`: shows workers, frontends and backends of the proxy that runs here."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import click
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from ..admin.admin_client import AdminClient
from .cli_options import FineDuration, config_option, json_option
from .demo_config import read_config
from .failing import one_line
from .throughput import AdminReport, as_objects
from .top_keys import TopKeys, raw_keys, typed_within
from .top_screen import SORTS, TopView, all_rates, screen, wanted

Reports = tuple[AdminReport, AdminReport, float]
"""Two reports, and the seconds between them."""


@click.command()
@click.option("--once", is_flag=True, help="Print all of it once, and exit.")
@click.option(
    "--interval", type=FineDuration(0.1, "1m"), default="1s", show_default=True,
    help="The time over which rates are taken.",
)  # fmt: skip
@click.option(
    "--sort", type=click.Choice(SORTS), default=SORTS[0], show_default=True,
    help="What the first rows are.",
)  # fmt: skip
@click.option("--filter", "text", default="", help="Only names that hold this text.")
@config_option
@json_option
def top(
    path: str | None, interval: float, sort: str, text: str, *, once: bool, as_json: bool
) -> None:
    """Show what the proxy does now: rates, times, errors and marks.

    Type q to end it, s to sort by something else, / and a text to see only names that hold it.
    It asks the admin listener of the configuration (admin.bind). With --json it prints an object
    for each interval, a line each, with all frontends and backends.
    """
    with suppress(KeyboardInterrupt), one_line():
        config, view = read_config(path), TopView(sort, text.lower())
        with AdminClient(config) as admin:
            if as_json:
                for found in islice(_objects(admin, interval, view), 1 if once else None):
                    click.echo(json.dumps(found))
            elif once:
                _print_whole(screen(*next(_reports(admin, interval)), time.time(), view))
            else:
                _show(admin, interval, TopKeys(sort, text))


def _print_whole(shown: RenderableType) -> None:
    """Nothing is cut: a terminal that is narrower wraps."""
    console = Console()
    needed = console.measure(shown, options=console.options.update(max_width=10_000)).maximum
    console.width = max(console.width, needed)
    with console.capture() as printed:
        console.print(shown, crop=False)
    for line in printed.get().splitlines():
        click.echo(line.rstrip())


def _show(admin: AdminClient, interval: float, keys: TopKeys) -> None:
    """The screen, until q or Ctrl-C."""
    with (
        raw_keys() as typed,
        Live(Text("counting ..."), screen=True, auto_refresh=False) as live,
    ):
        before, then = _report(admin), time.monotonic()
        reports: Reports | None = None
        while not keys.over:
            key = _key_within(then + interval - time.monotonic(), typed=typed)
            for each in key:
                keys.press(each)
            if not key:
                after, now = _report(admin), time.monotonic()
                reports, before, then = (before, after, now - then), after, now
            if reports is not None:
                view = TopView(
                    keys.sort, keys.filter.lower(), *live.console.size, keys.footer if typed else ""
                )
                live.update(screen(*reports, time.time(), view), refresh=True)


def _key_within(seconds: float, *, typed: bool) -> str:
    if typed:
        return typed_within(seconds)
    time.sleep(max(0.0, seconds))
    return ""


def _objects(admin: AdminClient, interval: float, view: TopView) -> Iterator[AdminReport]:
    """The same for programs."""
    for before, after, seconds in _reports(admin, interval):
        frontends, backends = all_rates(before, after, seconds)
        yield {
            "seconds": round(seconds, 3), "workers": after["workers"],
            "frontends": as_objects(wanted(frontends, view)),
            "backends": as_objects(wanted(backends, view)),
        }  # fmt: skip


def _reports(admin: AdminClient, interval: float) -> Iterator[Reports]:
    """Two reports and the seconds between them, for each interval, without end."""
    before, then = _report(admin), time.monotonic()
    while True:
        time.sleep(max(0.0, then + interval - time.monotonic()))
        after, now = _report(admin), time.monotonic()
        yield before, after, now - then
        before, then = after, now


def _report(admin: AdminClient) -> AdminReport:
    return {part: admin.ask(f"/api/{part}") for part in ("workers", "frontends", "backends")}
