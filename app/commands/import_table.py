"""`hipache route import`: a table of any size, some frontends at a time."""

from __future__ import annotations

import time
from pathlib import Path

import click

from ..masking import printable
from ..stores.meant import check_meant
from ..stores.spooled_table import SpooledTable
from ..stores.table import TableError, by_domain
from ..stores.table_difference import difference
from ..stores.tables import RouteTable
from ..upstream.destinations import configured
from .cli_options import config_option
from .demo_config import read_config
from .failing import CommandFailed
from .import_changes import ImportChanges, compared
from .importing import Import, told
from .on_table import run_on_table, wait_option
from .waiting import waiting

SHOWN = 1000
"""Frontends whose change is printed."""
MANY = 5_000
"""Frontends from which on it is told how many were compared."""


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--replace", "whole", is_flag=True, help="Remove frontends that are not in FILE.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@wait_option
@config_option
def import_(file: Path, whole: bool, yes: bool, wait: float | None, path: str | None) -> None:
    """Import the table in FILE (JSON or TOML), after showing what changes.

    All or nothing, where it is not large. More than some hundred frontends are written in
    pieces, so that nobody else waits for the store; an import that was interrupted says how
    far it came, and goes on from there when it is started again. JSON of any size needs the
    same memory; TOML is held as a whole.
    """

    async def work(table: RouteTable) -> None:
        try:
            with SpooledTable(file) as wanted, ImportChanges() as changes:
                with waiting(f"reading {file}"):
                    wanted.read()
                await _import(table, wanted, changes)
        except BrokenPipeError:  # nobody reads on what is printed: click ends quietly
            raise
        except OSError as exc:  # the file cannot be read, or there is no room for temporary ones
            raise CommandFailed(str(exc)) from exc

    async def _import(table: RouteTable, wanted: SpooledTable, changes: ImportChanges) -> None:
        lines, total = await _compare(table, wanted, changes, whole=whole, path=path)
        for line in lines:
            click.echo(printable(line))
        if total > len(lines):
            click.echo(f"and {total - len(lines):,} frontends more")
        if not total:
            click.echo("nothing to change")
            return
        if not yes and not click.confirm(f"Change {total} frontends?"):
            raise TableError("nothing was changed")
        began, whole_table = time.monotonic(), Import(changes)
        await whole_table.run(table)
        click.echo(whole_table.summary(time.monotonic() - began))

    run_on_table(path, work, wait)


async def _compare(
    table: RouteTable,
    wanted: SpooledTable,
    changes: ImportChanges,
    *,
    whole: bool,
    path: str | None,
) -> tuple[list[str], int]:
    """Fill `changes`. The lines of some of them, and how many there are in all."""
    objection = configured(read_config(path)).objection
    lines: list[tuple[str, str]] = []
    total = 0
    with told(wanted.count, shown=wanted.count >= MANY, done="compared") as advance:
        async for change in compared(table, wanted, whole=whole, advance=advance):
            key, before, after = change
            if after is not None:
                check_meant(key, after, before, objection)
            if before == after:
                continue
            changes.add(change)
            tables = ({} if entry is None else {key: entry} for entry in (before, after))
            for line in difference(*tables):
                total += 1
                if total <= SHOWN:
                    lines.append((key, line))
    lines.sort(key=lambda told: by_domain(told[0]))
    return [line for _, line in lines], total
