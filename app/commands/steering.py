"""Commands that change one option of a frontend: drain, maintenance, and any other by its name.

Each change is validated, made as a whole, and undone by its opposite.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import click

from ..admin.admin_client import AdminClient
from ..balancing.explain_text import ago
from ..config.structs import Config
from ..frontends.backends import trimmed
from ..masking import printable
from ..stores import steered
from ..stores.meant import check_options
from ..stores.steered import drained, opened, shut, undrained, with_option
from ..stores.table import Entry, Table, TableError, without_secrets
from ..stores.tables import RouteTable
from .cli_options import Duration, config_option, json_option
from .command_group import CommandGroup
from .demo_config import read_config
from .failing import CommandFailed, one_line
from .on_table import key_of, run_on_table, wait_option
from .waiting import waiting

LOOK_EVERY = 0.5
"""Seconds between two looks at what is in flight; the workers tell it once a second."""
SETTLED = 1.5
"""Seconds until what began just before the change is told, too."""
FOR_EVER = 3650 * 86_400


@click.group(cls=CommandGroup)
def option() -> None:
    """Show and change the options of a frontend."""


@option.command("list")
@click.argument("host")
@config_option
@json_option
def list_(host: str, path: str | None, *, as_json: bool) -> None:
    """List the options of the frontend HOST, passwords masked."""

    async def work(table: RouteTable) -> None:
        entry = _existing(await table.read([key]), key)
        options = dict(sorted(without_secrets(entry.options).items()))
        if as_json:
            click.echo(json.dumps(options, indent=2))
            return
        for name, value in options.items():
            click.echo(printable(f"{name} = {value}"))

    key = key_of(host)
    run_on_table(path, work)


@option.command("set")
@click.argument("host")
@click.argument("name")
@click.argument("value")
@wait_option
@config_option
def set_(host: str, name: str, value: str, wait: float | None, path: str | None) -> None:
    """Set the option NAME of the frontend HOST to VALUE."""
    change(host, path, lambda entry: with_option(entry, name, value), wait)


@option.command()
@click.argument("host")
@click.argument("name")
@wait_option
@config_option
def unset(host: str, name: str, wait: float | None, path: str | None) -> None:
    """Remove the option NAME of the frontend HOST."""
    change(host, path, lambda entry: steered.unset(entry, name), wait)


@click.command()
@click.argument("host")
@click.argument("url")
@click.option(
    "--wait", "longest", type=Duration("3650d"), is_flag=False, flag_value=FOR_EVER,
    metavar="[TIME]",
    help="Return when nothing is in flight there any more; fail after TIME, if one is given.",
)  # fmt: skip
@config_option
def drain(host: str, url: str, longest: int | None, path: str | None) -> None:
    """Send the backend URL of HOST nothing new; what runs there goes on."""
    config = read_config(path)
    if longest is not None and config.admin.bind is None:
        raise click.UsageError("--wait asks the admin listener, and admin.bind is null")
    change(
        host, path, lambda entry: drained(entry, url), None if longest is None else 10.0
    )  # fmt: skip
    if longest is not None:
        _wait_until_idle(config, key_of(host), url, longest)


@click.command()
@click.argument("host")
@click.argument("url")
@wait_option
@config_option
def undrain(host: str, url: str, wait: float | None, path: str | None) -> None:
    """Let the backend URL of HOST serve again."""
    change(host, path, lambda entry: undrained(entry, url), wait)


@click.group(cls=CommandGroup)
def maintenance() -> None:
    """Shut a site for a while, and open it again, for all proxies at once."""


@maintenance.command()
@click.argument("host")
@click.option("--message", default="on", help="What visitors are told.")
@click.option("--retry-after", type=Duration("7d"), help="When they may come again: 10m, 2h.")
@click.option("--allow", multiple=True, metavar="NETWORK", help="Who sees the site all the same.")
@wait_option
@config_option
def on(
    host: str,
    *,
    message: str,
    retry_after: int | None,
    allow: tuple[str, ...],
    wait: float | None,
    path: str | None,
) -> None:
    """Answer requests for HOST with 503 and a page that says so."""
    change(host, path, lambda entry: shut(entry, message, retry_after, allow), wait)


@maintenance.command()
@click.argument("host")
@wait_option
@config_option
def off(host: str, wait: float | None, path: str | None) -> None:
    """Open the site HOST again."""
    change(host, path, opened, wait)


def change(host: str, path: str | None, step: Callable[[Entry], Entry], wait: float | None) -> None:
    """Change the options of one frontend. What is wrong with a new one is told, not written."""

    def whole(before: Table) -> Table:
        entry = _existing(before, key)
        after = step(entry)
        check_options(key, after, entry)
        return {key: after}

    key = key_of(host)
    run_on_table(path, lambda table: table.change([key], whole), wait)


def _wait_until_idle(config: Config, key: str, url: str, longest: int) -> None:
    """Until no worker of the proxy that runs here has anything in flight there."""
    began = time.monotonic()
    awaited = waiting(f"waiting for requests to {url} to end")
    with one_line(), AdminClient(config) as admin, awaited:
        time.sleep(SETTLED)
        while flying := _in_flight(admin, key, url):
            if time.monotonic() - began > longest:
                raise CommandFailed(
                    f"{flying} still in flight at {url} after {ago(longest)}; it stays drained"
                )
            time.sleep(LOOK_EVERY)
    click.echo(f"{key}  {url}  drained, nothing in flight")


def _in_flight(admin: AdminClient, key: str, url: str) -> int:
    report = admin.ask("/api/backends", frontend=key)
    return sum(
        each["in_flight"] for each in report if trimmed(each["backend"] or "") == trimmed(url)
    )


def _existing(table: Table, key: str) -> Entry:
    if (entry := table.get(key)) is None:
        raise TableError(f"no frontend {key}; `hipache route set` creates one")
    return entry
