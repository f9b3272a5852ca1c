"""Where frontends live: Redis, the embedded Valkey, a file, or a store of another package."""

from __future__ import annotations

import logging
from pathlib import Path

from ..config.structs import Config
from .cache.cached_store import CachedStore
from .cache.reads import ReadPlan
from .cache.sibling_reads import SiblingReads
from .cache.snapshot import Snapshot
from .driver import StoreDriver
from .drivers import driver_for, driver_of

__all__ = ["CachedStore", "StoreDriver", "driver_for", "driver_of", "open_store"]


logger = logging.getLogger(__name__)


def open_store(config: Config, shared: Path | None = None) -> CachedStore:
    """The store that `driver` names, behind this worker's cache. Connects to nothing yet.

    `shared` is the folder that the workers of this proxy have in common, None where there is none.
    Raises ConfigError when it cannot be used.
    """
    server, cache = config.server, config.server.lru_cache
    driver = driver_of(config)
    if shared is None or server.workers == 1 or not driver.one_server:
        shared, store = None, driver.open(server)
    else:
        store = driver.open_beside(server, shared)
    snapshot = None
    if server.snapshot is not None:
        snapshot = Snapshot(Path(server.snapshot).absolute(), store.name, size=cache.size)
    siblings = None if shared is None else _siblings(shared, config)
    plan = ReadPlan(server.store_reads, siblings)
    return CachedStore(store, size=cache.size, ttl=cache.ttl, snapshot=snapshot, plan=plan)


def _siblings(shared: Path, config: Config) -> SiblingReads | None:
    try:
        return SiblingReads(shared, " ".join(config.driver))  # a reload may name another store
    except OSError as exc:
        logger.warning("each worker reads routes for itself cause=%s", exc)
        return None
