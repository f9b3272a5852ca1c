"""A pool of HTTP/2 whose `maxSockets` counts for all workers of the proxy together."""

from __future__ import annotations

from ..shared_pool import SharedPool
from .http2_pool import Http2Pool


class SharedHttp2Pool(SharedPool, Http2Pool):
    """A request's place on a connection needs one of the places that the workers share."""
