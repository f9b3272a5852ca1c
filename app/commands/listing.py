"""`hipache route list` and `export`: a table of any size, some frontends at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from typing import IO

import click

from ..masking import printable
from ..stores.key_pattern import EVERY_KEY, KeyPattern
from ..stores.sorted_keys import SortedKeys
from ..stores.table import Table, by_domain, dump_entries
from ..stores.table_pieces import page_of, read_pieces, sort_keys
from ..stores.tables import RouteTable
from .cli_options import Duration, config_option, json_option
from .idle import list_idle
from .importing import told
from .on_table import run_on_table
from .waiting import waiting

NO_LIST = "(no list of its own: options for its prefixes)"
MANY = 5_000
"""Frontends from which on a terminal shows how far it is."""


@click.command("list")
@click.argument("pattern", required=False)
@click.option(
    "--idle",
    type=Duration("3650d"),
    help="Only those that nobody has used for TIME (30m, 2h), and when they were used last.",
)
@click.option("--limit", type=click.IntRange(1), help="Only some: a page of so many.")
@click.option("--after", "place", default="", help="The page that follows; --limit says which.")
@config_option
@json_option
def list_(
    pattern: str | None,
    *,
    idle: int | None,
    limit: int | None,
    place: str,
    path: str | None,
    as_json: bool,
) -> None:
    """List all frontends, or those whose key matches PATTERN.

    In PATTERN * stands for any text ('*.shop.test'); without one it is what keys begin with.
    """
    if place and limit is None:
        raise click.UsageError("--after needs --limit")
    if idle is not None and limit is not None:
        raise click.UsageError("--idle lists all: it takes no --limit")
    matching = EVERY_KEY if pattern is None else KeyPattern.written(pattern)
    if idle is not None:
        work = partial(list_idle, matching=matching, idle=idle, as_json=as_json)
    elif limit is not None:
        work = partial(_list_page, matching=matching, most=limit, place=place, as_json=as_json)
    else:
        work = partial(_list_all, matching=matching, as_json=as_json)
    run_on_table(path, work)


@click.command()
@click.argument("file", type=click.File("w"), default="-")
@config_option
def export(file: IO[str], path: str | None) -> None:
    """Write the whole table as JSON to FILE, or to the terminal."""

    async def work(table: RouteTable) -> None:
        with SortedKeys() as keys:
            with waiting("reading the keys of all frontends"):
                await sort_keys(table, EVERY_KEY, keys)
            await _write_json(table, keys, file)

    run_on_table(path, work)


async def _list_all(table: RouteTable, *, matching: KeyPattern, as_json: bool) -> None:
    with SortedKeys(None if as_json else by_domain) as keys:
        await sort_keys(table, matching, keys)
        if as_json:
            await _write_json(table, keys, sys.stdout)
            return
        async for piece in read_pieces(table, keys):
            _print(piece, keys.longest)


async def _list_page(
    table: RouteTable, *, matching: KeyPattern, most: int, place: str, as_json: bool
) -> None:
    page = await page_of(table, matching, most, place)
    if as_json:
        await _write_json(table, page.keys, sys.stdout)
    else:
        width = max(map(len, page.keys), default=0)
        async for piece in read_pieces(table, page.keys):
            _print(piece, width)
    if page.following:
        click.echo(f"there are more: --after {page.following!r} lists them", err=True)


def _print(piece: Table, width: int) -> None:
    lines = [
        printable(f"{key:{width}}  {_told(piece, key)}".rstrip()) for key in piece
    ]  # fmt: skip
    if lines:
        click.echo("\n".join(lines))


def _told(piece: Table, key: str) -> str:
    entry = piece[key]
    return f"{entry.identifier}  {' '.join(entry.backends)}" if entry.listed else NO_LIST


async def _write_json(table: RouteTable, keys: Iterable[str], file: IO[str]) -> None:
    count = keys.count if isinstance(keys, SortedKeys) else 0
    start = "{\n"
    shown = count >= MANY and sys.stderr.isatty() and not file.isatty()
    with told(count, shown=shown) as advance:
        async for piece in read_pieces(table, keys):
            if piece:
                file.write(start + dump_entries(piece))
                start = ",\n"
            advance(len(piece))
    file.write("{}\n" if start == "{\n" else "\n}\n")
