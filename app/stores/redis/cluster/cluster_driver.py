"""`redis+cluster:` and `rediss+cluster:`: routes divided over the primaries of a Redis Cluster."""

from __future__ import annotations

from collections.abc import Sequence

from redis.exceptions import RedisError

from ....config.store_address import StoreAddress
from ....errors import StoreUnavailable
from ..driver import TABLE_TIMEOUT, RedisDriver, lines_of
from ..links import connect
from ..url import CLUSTER_SCHEMES
from .cluster_connections import ClusterConnections
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

    async def command(self, words: Sequence[str], *, timeout: float) -> list[str]:
        """From the primary of its key. CONFIG is about a server: it goes to every primary."""
        if words[0].upper() != "CONFIG":
            return await super().command(words, timeout=timeout)
        cluster = connect(self.urls[0], timeout=timeout, retries=0)
        assert isinstance(cluster, ClusterConnections)
        lines: list[str] = []
        failed: list[str] = []
        try:
            for address in (await cluster.slots()).primaries():
                try:
                    (answer,) = await cluster.node(address).ask([words])
                except (RedisError, OSError) as exc:
                    answer = exc
                name = ":".join(map(str, address))
                said = failed if isinstance(answer, Exception) else lines
                said += (f"{name}: {line}" for line in lines_of(answer))
        except (RedisError, OSError) as exc:
            raise StoreUnavailable(str(exc)) from exc
        finally:
            await cluster.aclose()
        if failed:
            raise StoreUnavailable("; ".join(failed))
        return lines

    def issuance(self, folder: str, *, timeout: float) -> ClusterIssuance:
        """Connects to nothing yet."""
        return ClusterIssuance(self.urls, timeout=timeout)
