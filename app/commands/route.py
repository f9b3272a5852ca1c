"""`hipache route ...`: shows and changes the routes in the configured store."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import click

from ..frontends.backends import trimmed
from ..frontends.site import host_of
from ..masking import printable
from ..routing import lookup_keys
from ..stores.meant import check_change
from ..stores.table import (
    Entry,
    Table,
    TableError,
    check_key,
    in_file_form,
    without_secrets,
)
from ..stores.table_sites import serving, serving_keys
from ..stores.tables import RouteTable
from ..upstream.destinations import configured
from .cli_options import Duration, config_option, json_option
from .command_group import CommandGroup
from .demo_config import read_config
from .idle import last_use_as_json, last_use_of
from .import_table import import_
from .listing import export, list_
from .on_table import TableWork, key_of, run_on_table, wait_option
from .renaming import rename_site


@click.group(cls=CommandGroup)
def route() -> None:
    """Show and change routes. Every change is made as a whole or not at all, but a large import."""


route.add_command(list_)
route.add_command(export)
route.add_command(import_)


@route.command()
@click.argument("host", metavar="HOST[/PATH]")
@config_option
@json_option
def show(host: str, path: str | None, as_json: bool) -> None:
    """Show the frontend that serves HOST or HOST/PATH, or the one with exactly this key."""

    async def work(table: RouteTable) -> None:
        key = check_key(host)
        hosts = [host_of(key)] if key.startswith("*") else lookup_keys(host_of(key))
        found = await table.read(serving_keys(hosts, key))
        match = serving(found, hosts, key)
        if match is None:
            raise TableError(f"no frontend for {key}; looked for {', '.join(hosts)}")
        entry = found[match]
        if as_json:
            told = in_file_form(entry) | await last_use_as_json(table, match)
            click.echo(json.dumps({match: told}, indent=2))
            return
        click.echo(printable(f"{match}  {entry.identifier}"))
        for index, url in enumerate(entry.backends):
            click.echo(printable(f"  {index}  {url}"))
        for option, value in sorted(without_secrets(entry.options).items()):
            click.echo(printable(f"  {option} = {value}"))
        if entry.ttl is not None:
            click.echo(f"  disappears in {entry.ttl} s")
        if used := await last_use_of(table, match):
            click.echo(f"  last used {used}")

    run_on_table(path, work)


@route.command("set")
@click.argument("host", metavar="HOST[/PREFIX]")
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@click.option("--id", "identifier", help="The name in the log; default: as before, or HOST.")
@click.option("--ttl", type=Duration("3650d"), help="Expire after 30s, 10m, 2h.")
@wait_option
@config_option
def set_(
    host: str,
    urls: tuple[str, ...],
    *,
    identifier: str | None,
    ttl: int | None,
    wait: float | None,
    path: str | None,
) -> None:
    """Create the frontend HOST, or replace its backends. Its options stay."""

    def edit(before: Entry | None) -> Entry:
        old = before or Entry(key)
        name = identifier or old.identifier or key
        return replace(old, identifier=name, backends=new, ttl=ttl, listed=True)

    key, new = key_of(host), tuple(map(trimmed, urls))
    run_on_table(path, _edit(key, edit, path), wait)


@route.command()
@click.argument("host", metavar="HOST[/PREFIX]")
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@wait_option
@config_option
def add(host: str, urls: tuple[str, ...], wait: float | None, path: str | None) -> None:
    """Add backends to the frontend HOST."""

    def edit(before: Entry | None) -> Entry:
        if before is None or not before.listed:
            raise TableError(f"no frontend {key}; `hipache route set` creates one")
        return replace(before, backends=before.backends + new)

    key, new = key_of(host), tuple(map(trimmed, urls))
    run_on_table(path, _edit(key, edit, path), wait)


@route.command()
@click.argument("host", metavar="HOST[/PREFIX]")
@click.argument("urls", nargs=-1, metavar="[URL...]")
@wait_option
@config_option
def remove(host: str, urls: tuple[str, ...], wait: float | None, path: str | None) -> None:
    """Remove backends from the frontend HOST, or, without URL, the frontend itself.

    The prefixes of HOST stay, and with them the options that they inherit.
    """

    def edit(before: Entry | None) -> Entry | None:
        if before is None or not before.listed:
            raise TableError(f"no frontend {key}")
        if not urls:
            return before.without_list()
        there = set(map(trimmed, before.backends))
        if unknown := [url for url in gone if url not in there]:
            raise TableError(f"{key} has no backend {unknown[0]!r}")
        kept = tuple(url for url in before.backends if trimmed(url) not in gone)
        return replace(before, backends=kept)

    key, gone = key_of(host), list(map(trimmed, urls))
    run_on_table(path, _edit(key, edit, path), wait)


@route.command()
@click.argument("host", metavar="HOST[/PREFIX]")
@click.argument("new", metavar="NEW[/PREFIX]")
@wait_option
@config_option
def rename(host: str, new: str, wait: float | None, path: str | None) -> None:
    """Move the frontend HOST, with its options and its prefixes, to the key NEW."""
    old_key, new_key = key_of(host), key_of(new)
    run_on_table(path, lambda table: rename_site(table, old_key, new_key), wait)


def _edit(key: str, edit: Callable[[Entry | None], Entry | None], path: str | None) -> TableWork:
    """A change of one frontend, validated before it is written."""

    def whole(before: Table) -> Table:
        after = edit(before.get(key))
        if after is None:
            return {}
        check_change(key, after, before.get(key), configured(read_config(path)).objection)
        return {key: after}

    return lambda table: table.change([key], whole)
