"""`hipache redis COMMAND ...`: one command to the configured store, with nothing else installed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from redis.exceptions import RedisError

from ..config.driver import parse_driver
from ..config.file import load
from ..config.structs import Config
from ..errors import ConfigError, HipacheError
from ..stores.embedded.store import EmbeddedServer
from ..stores.redis.connections import Connections
from ..stores.redis.replies import text
from .open_store import EX_CONFIG, CommandFailed, config_option

PATIENCE = 30.0
"""Seconds for the answer."""


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@config_option
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
def redis(path: str | None, words: tuple[str, ...]) -> None:
    """Send one COMMAND to the store, as redis-cli does: 'hipache redis lrange frontend:a.org 0 -1'.

    It goes to the store that routes are written to, with the configuration's
    address, password and certificates. Keys are taken as they are, prefix
    included.
    """
    try:
        answer = asyncio.run(_ask(load(path, os.environ, Path.cwd()), words))
    except ConfigError as exc:
        click.echo(f"hipache: {exc}", err=True)
        sys.exit(EX_CONFIG)
    except (RedisError, OSError, HipacheError) as exc:
        click.echo(f"hipache: {exc}", err=True)
        sys.exit(1)
    for line in _lines(answer):
        click.echo(line)


async def _ask(config: Config, words: tuple[str, ...]) -> Any:
    drivers = [parse_driver(url) for url in config.driver]
    if drivers[0].scheme == "file":
        raise CommandFailed(f"{drivers[0].name}: a file answers no commands")
    embedded = EmbeddedServer(drivers[0].path) if drivers[0].scheme == "embedded" else None
    with embedded or nullcontext():
        primary = embedded.driver if embedded else drivers[-1]
        connections = Connections(
            replace(primary, database=drivers[0].database), timeout=PATIENCE, retries=0
        )
        try:
            (answer,) = await connections.ask([words])
        finally:
            await connections.aclose()
    if isinstance(answer, Exception):
        raise answer
    return answer


def _lines(answer: Any) -> Iterator[str]:
    """One element a line, as redis-cli writes to a pipe."""
    if isinstance(answer, list | tuple):
        for element in answer:
            yield from _lines(element)
    elif answer is None:
        yield ""
    else:
        yield text(answer) if isinstance(answer, bytes | str) else str(answer)
