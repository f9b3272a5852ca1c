"""Where frontends live: Redis, the embedded Valkey, or a file, behind one small protocol."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from ..config.driver import parse_driver
from ..config.structs import Config
from .base import Store
from .cache.routes import CachedStore
from .cache.snapshot import Snapshot
from .embedded.store import EmbeddedServer, EmbeddedStore
from .file.store import FileStore
from .redis.store import RedisStore

__all__ = ["CachedStore", "hold", "open_store"]


def open_store(config: Config) -> CachedStore:
    """The store that `driver` names, behind this worker's cache. Connects to nothing yet.

    Raises ConfigError when the URL can not be used.
    """
    server, cache = config.server, config.server.lru_cache
    store = _store(config)
    snapshot = None
    if server.snapshot is not None:
        snapshot = Snapshot(Path(server.snapshot).absolute(), store.name, size=cache.size)
    return CachedStore(store, size=cache.size, ttl=cache.ttl, snapshot=snapshot)


def _store(config: Config) -> Store:
    drivers = [parse_driver(url) for url in config.driver]
    timeout, within = config.server.store_timeout or None, config.server.rate_limit_timeout
    if drivers[0].scheme == "embedded":
        return EmbeddedStore(drivers[0], timeout=timeout, rates_within=within)
    if drivers[0].scheme == "file":
        return FileStore(drivers[0].path)
    ttl = config.server.lru_cache.ttl
    return RedisStore(drivers, timeout=timeout, ttl=ttl, rates_within=within)


def hold(config: Config) -> AbstractContextManager[object]:
    """Keep the embedded server running while this is open, if `driver` names it.

    For the supervisor: its workers may come and go. Entering raises StoreUnavailable,
    making it ConfigError.
    """
    driver = parse_driver(config.driver[0])
    return EmbeddedServer(driver.path) if driver.scheme == "embedded" else nullcontext()
