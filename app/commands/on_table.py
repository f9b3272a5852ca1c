"""Work on the route table of the configured store, for the commands that change routes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import click

from ..frontends.site import host_of
from ..stores import driver_of
from ..stores.table import TableError, check_key
from ..stores.tables import RouteTable, seen_by_all
from .cli_options import FineDuration
from .demo_config import read_config
from .failing import one_line
from .waiting import waiting

TableWork = Callable[[RouteTable], Awaitable[None]]


wait_option = click.option(
    "--wait", is_flag=False, flag_value="10s", type=FineDuration(), metavar="[TIME]",
    help="Return when every running worker has the change; fail after TIME (10s).",
)  # fmt: skip


def run_on_table(path: str | None, work: TableWork, wait: float | None = None) -> None:
    """Do `work` on the configured store; an error is one line and an exit status.

    `wait`: seconds until every running worker must have the change; None waits for none.
    """
    with one_line():
        asyncio.run(_with_table(path, work, wait))


async def _with_table(path: str | None, work: TableWork, wait: float | None) -> None:
    table = driver_of(read_config(path)).table()
    try:
        if wait is None:
            await work(table)
        else:
            click.echo(f"workers that have it: {await _seen_by_all(table, work, wait)}")
    finally:
        await table.aclose()


async def _seen_by_all(table: RouteTable, work: TableWork, wait: float) -> int:
    with ExitStack() as shown:

        async def change() -> None:
            await work(table)  # it may ask, or show how far it is
            shown.enter_context(waiting("waiting until every worker has it"))

        return await seen_by_all(table, change, wait)


def key_of(host: str) -> str:
    """The key that a command's HOST means. Ends the command where it can be none."""
    try:
        return check_key(host)
    except TableError as exc:
        raise click.BadParameter(str(exc)) from None


def _host_name(context: click.Context, argument: click.Parameter, name: str) -> str:
    key = key_of(name)
    if host_of(key) != key:
        raise click.BadParameter(f"{name!r} has a path: a certificate is for a host")
    return key


name_argument = click.argument("name", callback=_host_name)
"""NAME, a host without a path, in the form of its frontend's key."""
