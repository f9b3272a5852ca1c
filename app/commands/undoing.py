"""`hipache route log` and `hipache route undo`: what was changed, and how it was before."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from ..masking import printable
from ..stores.journal import shown_as_json, undone
from ..stores.table import Entry, Table, existing
from ..stores.table_difference import difference, in_words
from ..stores.tables import RouteTable
from .cli_options import config_option, json_option
from .on_table import key_of, run_on_table, wait_option


@click.command("log")
@click.argument("host", metavar="[HOST[/PREFIX]]", required=False)
@click.option(
    "-n", "--lines", "most", type=click.IntRange(1, 10_000), default=20, show_default=True,
    help="At most so many changes.",
)  # fmt: skip
@config_option
@json_option
def log(host: str | None, most: int, path: str | None, *, as_json: bool) -> None:
    """List who changed which frontend, when, from what to what, the newest first."""

    async def work(table: RouteTable) -> None:
        changes = await table.journal(key, most)
        if as_json:
            click.echo(json.dumps([shown_as_json(change) for change in changes], indent=2))
            return
        for change in changes:
            for line in in_words(change):
                click.echo(printable(f"{_time(change.at)}  {change.by}  {line}"))
        if not changes:
            click.echo("no change in the journal")

    key = None if host is None else key_of(host)
    run_on_table(path, work)


@click.command()
@click.argument("host", metavar="HOST[/PREFIX]")
@wait_option
@config_option
def undo(host: str, wait: float | None, path: str | None) -> None:
    """Make the frontend HOST what it was before its last change. Twice is as before."""

    async def work(table: RouteTable) -> None:
        found = [each for each in await table.journal(key, SEARCHED) if each.key == key]
        last = found[0] if found else None
        seen: list[Entry | None] = []

        def edit(now: Table) -> Table:
            there = existing(now, key)
            before = undone(last, key, there)
            seen[:] = [there, before]
            return {} if before is None else {key: before}

        await table.change([key], edit)
        there, before = seen
        for line in difference(_alone(key, there), _alone(key, before)):
            click.echo(printable(line))

    key = key_of(host)
    run_on_table(path, work, wait)


SEARCHED = 1_000
"""Changes of a host and its prefixes among which the last one of its own is looked for."""


def _alone(key: str, entry: Entry | None) -> dict[str, Entry]:
    return {} if entry is None else {key: entry}


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
