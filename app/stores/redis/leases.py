"""Keys that one holder has for some time, and what only their holder may do."""

from __future__ import annotations

from typing import Any

from .check_records import Bounded
from .connections import StoreLink

KEEP = "return redis.call('get',KEYS[1])==ARGV[1] and redis.call('pexpire',KEYS[1],ARGV[2]) or 0"
"""A script: extend the lease of ARGV[1] to ARGV[2] milliseconds."""
RELEASE = "return redis.call('get',KEYS[1])==ARGV[1] and redis.call('del',KEYS[1]) or 0"
"""A script: give the lease of ARGV[1] back."""
LEASE_KEY = "hipache:lease:"


async def hold(client: Any, key: str, holder: str, seconds: float) -> bool:
    """Take or keep a lease: a key that expires, and that only its holder renews.

    `client` is redis-py's; its errors pass through.
    """
    milliseconds = int(seconds * 1000)
    return bool(
        await client.eval(KEEP, 1, key, holder, milliseconds)
        or await client.set(key, holder, nx=True, px=milliseconds)
    )


class RedisLeases:
    """base.Leases in Redis."""

    def __init__(self, writing: StoreLink, prefix: str, bounded: Bounded) -> None:
        self._writing = writing.client
        self._prefix = prefix + LEASE_KEY
        self._bounded = bounded

    async def hold(self, name: str, holder: str, seconds: float) -> bool:
        """One script, and one command where nobody holds it."""
        key = self._prefix + name
        return bool(await self._bounded(lambda: hold(self._writing, key, holder, seconds)))

    async def claim(self, name: str, seconds: float) -> bool:
        """A key that expires."""
        key, client, milliseconds = self._prefix + name, self._writing, int(seconds * 1000)
        return bool(
            await self._bounded(lambda: client.set(key, "claimed", nx=True, px=milliseconds))
        )
