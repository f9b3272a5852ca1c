"""To one server or to a cluster: which connections an URL needs, and what tracks over them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from .cluster.cluster_connections import ClusterConnections
from .cluster.cluster_tracking import ClusterTracker
from .connections import Connections, StoreLink
from .listening.shared_tracker import SharedTracker
from .listening.tracking_news import TrackingEars
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
    seat: Path | None = None,
) -> Tracker | ClusterTracker | SharedTracker:
    """As for Tracker. Workers with the same `seat` share one connection, to a server of its own."""
    if isinstance(link, ClusterConnections):
        return ClusterTracker(
            link, prefixes, on_keys=on_keys, listener=listener, landmark=landmark,
            on_landmark=on_landmark,
        )  # fmt: skip
    assert isinstance(link, Connections)
    connections = link

    def one(ears: TrackingEars) -> Tracker:
        return Tracker(
            connections, prefixes, on_keys=ears.on_keys, listener=ears.listener, prepare=prepare,
            question=("GET", landmark), on_landmark=ears.on_landmark,
        )  # fmt: skip

    ears = TrackingEars(listener, on_keys, on_landmark)
    return one(ears) if seat is None else SharedTracker(seat, one, ears)
