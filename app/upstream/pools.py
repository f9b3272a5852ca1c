"""The pools of all origins that are in use, swept together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial

from ..errors import BackendForbidden
from ..frontends.backends import HTTP2
from ..system.http2_extra import has_http2, lacking
from ..system.shared_places import wait_no_more
from ..system.worker_team import WorkerTeam
from .asker import ClientOf, nobody
from .destinations import Destinations
from .dialling import Origin
from .limits import PoolLimits
from .pool import Pool
from .sweeper import Sweeper
from .tls_contexts import ContextSource

logger = logging.getLogger(__name__)


def uses_http2(scheme: str) -> bool:
    """Whether a backend of this scheme may be asked over HTTP/2.

    Raises BackendForbidden for h2c without its engine: the backend is not to blame.
    """
    if why := lacking(scheme):
        raise BackendForbidden(f"the backend is one of h2c: {why}")
    return scheme in HTTP2 and has_http2()


def _pool_class(origin: Origin, team: WorkerTeam | None) -> Callable[..., Pool]:
    http2 = uses_http2(origin[0])
    if team is not None:
        from .shared_pool import SharedPool

        if not http2:
            return partial(SharedPool, team)
        from .http2.shared_http2_pool import SharedHttp2Pool

        return partial(SharedHttp2Pool, team)
    if not http2:
        return Pool
    from .http2.http2_pool import Http2Pool

    return Http2Pool


class Pools:
    """The pools of all origins in use."""

    def __init__(
        self,
        limits: PoolLimits,
        tls: ContextSource,
        destinations: Destinations | None = None,
        client_of: ClientOf = nobody,
        team: WorkerTeam | None = None,
    ) -> None:
        """`client_of` tells what counts as one client. With a `team`, the connections of all its
        workers together are bounded, not those of each."""
        self._team = team
        if team is not None:
            team.hear_rest(partial(wait_no_more, team))
        self._destinations = destinations
        self.limits = limits
        self._tls = tls
        self._client_of = client_of
        self._pools: dict[Origin, Pool] = {}
        self.find: Callable[[Origin], Pool | None] = self._pools.get
        """The pool of an origin, if that is in use."""
        self._sweeper = Sweeper(limits.step, self._sweep)
        self.on_waited: Callable[[float], None] = lambda seconds: None

    def pool_for(self, origin: Origin) -> Pool:
        """The pool of `origin`: made when it is first needed, forgotten when it is unused."""
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = self._new_pool(origin)
            pool.on_waited = self.on_waited
            self._sweeper.start()
        return pool

    def _new_pool(self, origin: Origin) -> Pool:
        parts = origin, self.limits, self._tls, self._forget, self._client_of
        try:
            kind = _pool_class(origin, self._team)
            return kind(*parts, destinations=self._destinations)
        except OSError as exc:
            logger.error("this worker counts its connections for itself cause=%s", exc)
            return _pool_class(origin, None)(*parts, destinations=self._destinations)

    def __iter__(self) -> Iterator[Pool]:
        return iter(tuple(self._pools.values()))

    def close(self) -> None:
        """Close every connection."""
        for pool in self:
            pool.close()
        self._sweeper.stop()

    def _forget(self, origin: Origin) -> None:
        self._pools.pop(origin, None)

    def _sweep(self, now: float) -> bool:
        for pool in self:
            pool.sweep(now)
        return bool(self._pools)
