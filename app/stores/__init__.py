"""Where frontends live: Redis, the embedded Valkey, a file, or a store of another package."""

from __future__ import annotations

from pathlib import Path

from ..config.structs import Config
from .cache.cached_store import CachedStore
from .cache.snapshot import Snapshot
from .driver import StoreDriver
from .drivers import driver_for, driver_of

__all__ = ["CachedStore", "StoreDriver", "driver_for", "driver_of", "open_store"]


def open_store(config: Config) -> CachedStore:
    """The store that `driver` names, behind this worker's cache. Connects to nothing yet.

    Raises ConfigError when it cannot be used.
    """
    server, cache = config.server, config.server.lru_cache
    store = driver_of(config).open(server)
    snapshot = None
    if server.snapshot is not None:
        snapshot = Snapshot(Path(server.snapshot).absolute(), store.name, size=cache.size)
    return CachedStore(store, size=cache.size, ttl=cache.ttl, snapshot=snapshot)
