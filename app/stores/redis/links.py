"""To one server or to a cluster: which connections an URL needs, and what tracks over them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from .cluster.cluster_connections import ClusterConnections
from .cluster.cluster_tracking import ClusterTracker
from .connections import Connections, StoreLink
from .tracking import Tracker, TrackingListener
from .url import CLUSTER_SCHEMES, RedisURL


def connect(
    url: RedisURL, *, timeout: float | None, retries: int = 1, bounded: bool = False
) -> Connections | ClusterConnections:
    """Connects to nothing yet. As for Connections."""
    kind = ClusterConnections if url.scheme in CLUSTER_SCHEMES else Connections
    return kind(url, timeout=timeout, retries=retries, bounded=bounded)


def tracker_of(
    link: StoreLink,
    prefixes: Sequence[str],
    *,
    on_keys: Callable[[list[bytes] | None], None],
    listener: TrackingListener,
    prepare: Callable[[], Awaitable[None]],
    landmark: str,
    on_landmark: Callable[[bytes], None],
) -> Tracker | ClusterTracker:
    """As for Tracker."""
    if isinstance(link, ClusterConnections):
        return ClusterTracker(
            link, prefixes, on_keys=on_keys, listener=listener, landmark=landmark,
            on_landmark=on_landmark,
        )  # fmt: skip
    assert isinstance(link, Connections)
    return Tracker(
        link, prefixes, on_keys=on_keys, listener=listener, prepare=prepare,
        question=("GET", landmark), on_landmark=on_landmark,
    )  # fmt: skip
