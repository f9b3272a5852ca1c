"""Opens the store for a command."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from ..config.structs import Config
from ..logs.proxy_log import OURS
from ..stores import CachedStore, open_store
from .demo_config import read_config
from .failing import CommandFailed, one_line

Work = Callable[[CachedStore, Config], Awaitable[None]]


def run(path: str | None, work: Work) -> None:
    """Do `work` on the configured store; an error is one line and an exit status."""
    for name in OURS:
        logging.getLogger(name).addHandler(logging.NullHandler())  # `one_line` prints the error
    with one_line():
        asyncio.run(_on_store(read_config(path), work))


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
