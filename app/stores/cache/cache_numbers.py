"""What one worker's cache counts, for the metrics."""

from __future__ import annotations

from .outage import Outage
from .reads import Reads
from .route_cache import RouteCache


class CountedCache:
    """stores.routes.CacheNumbers of one CachedStore."""

    def __init__(self, memory: RouteCache, reads: Reads, outage: Outage) -> None:
        self._memory, self._reads = memory, reads
        self.pushes = 0
        """Changes that the store reported."""
        self.contact_age = outage.contact_age

    @property
    def hits(self) -> int:
        """Requests whose route was in memory."""
        return self._memory.hits

    @property
    def misses(self) -> int:
        """Reads of a host or a prefix that were wanted of the store."""
        return self._reads.count
