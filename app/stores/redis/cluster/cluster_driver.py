"""`redis+cluster:` and `rediss+cluster:`: routes divided over the primaries of a Redis Cluster."""

from __future__ import annotations

from collections.abc import Sequence

from ....config.store_address import StoreAddress
from ..driver import TABLE_TIMEOUT, RedisDriver
from ..url import CLUSTER_SCHEMES
from .cluster_issuance import ClusterIssuance
from .cluster_table import ClusterTable


class ClusterDriver(RedisDriver):
    """One URL that names some servers of the cluster."""

    schemes = CLUSTER_SCHEMES

    def __init__(self, urls: Sequence[StoreAddress]) -> None:
        if len(urls) != 1:
            raise ValueError("expected one URL, with several servers of the cluster")
        super().__init__(urls)

    def table(self) -> ClusterTable:
        """Connects to nothing yet."""
        return ClusterTable(self.urls, timeout=TABLE_TIMEOUT)

    def issuance(self, folder: str, *, timeout: float) -> ClusterIssuance:
        """Connects to nothing yet."""
        return ClusterIssuance(self.urls, timeout=timeout)
