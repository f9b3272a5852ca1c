"""What every worker imports, imported before the first one is forked: they share its memory."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module

MODULES = (
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
    "anyio.lowlevel",
    "anyio.streams.memory",
    "anyio.streams.stapled",
    "anyio._core._testing",
)
"""Parts of libraries that are imported only once a server starts."""


def preload() -> None:
    """Import those that are there: a worker that needs others imports them by itself."""
    for name in MODULES:
        with suppress(ImportError):
            import_module(name)
