"""Hypercorn in this process: a server of ASGI that speaks HTTP/1.1, HTTP/2 and RFC 8441."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config


@asynccontextmanager
async def hypercorn(application: Any, *, certificate: Path | None = None) -> AsyncIterator[int]:
    """The port of `application`; with `certificate`, a key and its chain, over TLS."""
    config = Config()
    config.errorlog = None
    config.graceful_timeout = 1
    if certificate is not None:
        config.certfile = config.keyfile = str(certificate)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config.bind = [f"fd://{listener.detach()}"]
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(application, config, shutdown_trigger=stop.wait))
    try:
        yield port
    finally:
        stop.set()
        await serving
