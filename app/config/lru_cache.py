"""The `server.lruCache` object."""

from __future__ import annotations

from .types import Count, Seconds, Section


class LruCache(Section, frozen=True, kw_only=True):
    """How many hosts a worker remembers, and for how long if the store cannot push changes."""

    size: Count = 10_000  # hosts; 0 means no limit
    ttl: Seconds = 1.0  # used only without pushed invalidation; 0 means for ever
