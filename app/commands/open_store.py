"""What the commands that look into the store have in common."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import click
import msgspec

from ..config.file import load
from ..config.structs import Config
from ..errors import EX_CONFIG, ConfigError, HipacheError
from ..logs.proxy_log import OURS
from ..stores import CachedStore, open_store

Work = Callable[[CachedStore, Config], Awaitable[None]]


class CommandFailed(HipacheError):
    """The command cannot do what was asked; the text is all there is to say."""


def run(path: str | None, work: Work) -> None:
    """Do `work` on the configured store; what goes wrong is one line and a status."""
    for name in OURS:
        logging.getLogger(name).addHandler(logging.NullHandler())  # the one line says it all
    try:
        asyncio.run(_on_store(load(path, os.environ, Path.cwd()), work))
    except ConfigError as exc:
        click.echo(f"hipache: {exc}", err=True)
        sys.exit(EX_CONFIG)
    except HipacheError as exc:
        click.echo(f"hipache: {exc}", err=True)
        sys.exit(1)


async def _on_store(config: Config, work: Work) -> None:
    # The snapshot is for workers: a command asks the store itself or fails.
    server = msgspec.structs.replace(config.server, snapshot=None)
    routes = open_store(msgspec.structs.replace(config, server=server))
    await routes.start()
    try:
        if not routes.ready:
            raise CommandFailed(f"{routes.store.name}: the store cannot be reached")
        await work(routes, config)
    finally:
        await routes.aclose()
