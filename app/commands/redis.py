"""`hipache redis COMMAND ...`: sends one command to the configured store."""

from __future__ import annotations

import asyncio

import click

from ..stores import driver_of
from .cli_options import config_option
from .demo_config import read_config
from .failing import one_line

REPLY_WITHIN = 30.0
"""Seconds to wait for the reply."""


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@config_option
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
def redis(path: str | None, words: tuple[str, ...]) -> None:
    """Send one COMMAND to the store, as redis-cli does: 'hipache redis lrange frontend:a.org 0 -1'.

    It goes to the store that routes are written to, with the configuration's
    address, password and certificates. Write keys in full, with
    their prefix.
    """
    with one_line():
        driver = driver_of(read_config(path))
        lines = asyncio.run(driver.command(words, timeout=REPLY_WITHIN))
    for line in lines:
        click.echo(line)
