"""Where frontends live: Redis, the embedded Valkey, or a file, behind one small protocol."""

from __future__ import annotations

from app.config import Config
from app.stores.base import Store
from app.stores.cached import CachedStore
from app.stores.driver import parse_driver
from app.stores.redis import RedisStore

__all__ = ["CachedStore", "open_store"]


def open_store(config: Config) -> CachedStore:
    """The store that `driver` names, behind this worker's cache. Connects to nothing yet.

    Raises ConfigError when the URL can not be used.
    """
    server = config.server
    return CachedStore(_store(config), size=server.lru_cache.size, ttl=server.lru_cache.ttl)


def _store(config: Config) -> Store:
    drivers = [parse_driver(url) for url in config.driver]
    return RedisStore(drivers, timeout=config.server.store_timeout or None)
