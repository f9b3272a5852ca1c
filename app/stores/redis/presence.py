"""The workers that serve from this store, and what each has seen: how `--wait` knows its end.

Every worker keeps a key `hipache:worker:<id>` with an expiry. A command that changed routes counts
`hipache:change` up afterwards. Pushes come in order: a worker that hears of the number has heard of
the routes before. It writes the number into its key.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress
from uuid import uuid4

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ..key_pattern import escaped

logger = logging.getLogger(__name__)

CHANGE, WORKER = "hipache:change", "hipache:worker:"
PRESENT_EVERY, PRESENT_FOR = 5.0, 15
"""Seconds: how often a worker shows up, and after how long it counts as gone."""
NUMBERS_EVERY = 0.005
RELEASE_WITHIN = 0.5


class Presence:
    """One worker's key."""

    def __init__(self, reading: Redis, writing: Redis, prefix: str, *, delay: float) -> None:
        """`delay` (seconds): how old this worker's routes may be where changes are not reported."""
        self._reading, self._writing = reading, writing
        self._change = prefix + CHANGE
        self._key = f"{prefix}{WORKER}{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self._delay = delay
        self._seen: bytes | str = b"0"
        self._tracked = False
        self._polls = False
        self._wake = asyncio.Event()

    def reported(self, number: bytes) -> None:
        """All changes up to this number have been reported."""
        self._tracked, self._seen = True, number or b"0"
        self._wake.set()

    def not_tracked(self) -> None:
        """Changes are not reported for now: nothing is served without asking."""
        self._tracked = False
        self._wake.set()

    def polls(self) -> None:
        """Changes are never reported: routes are believed for `delay` seconds."""
        self._polls = True
        self._wake.set()

    async def run(self) -> None:
        """Show up until cancelled. Without the right to write keys, give up quietly."""
        while True:
            self._wake.clear()
            try:
                async with asyncio.timeout(PRESENT_EVERY + self._delay):
                    await self._show_up()
            except (RedisError, OSError) as exc:  # TimeoutError is an OSError
                if "NOPERM" in str(exc).upper() or "no permissions" in str(exc):
                    logger.info("--wait will not know this worker cause=%s", exc)
                    return
            await self._wait(self._delay if self._polls else PRESENT_EVERY)

    async def _show_up(self) -> None:
        if not self._tracked:
            seen = await self._reading.get(self._change) or b"0"
            if self._polls:
                await asyncio.sleep(self._delay)
            if self._tracked:  # meanwhile; what was reported by then counts
                return
            self._seen = seen
        await self._writing.set(self._key, self._seen, ex=PRESENT_FOR)

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0.1)):
                await self._wake.wait()

    async def release(self) -> None:
        """Nobody needs to wait for us any more."""
        if not self._tracked:
            return
        with suppress(RedisError, OSError):  # the key expires by itself
            async with asyncio.timeout(RELEASE_WITHIN):
                await self._writing.delete(self._key)


async def wait_for_all(client: Redis, prefix: str, seconds: float) -> tuple[int, list[str]]:
    """Wait until every worker has seen all changes made before this call.

    Returns how many workers there are, and the names of those that had not seen
    them within `seconds`. Raises RedisError, OSError.
    """
    number = int(await client.incr(prefix + CHANGE))
    workers = await workers_present(client, prefix)
    missing, loop = workers, asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while missing:
        seen = zip(missing, await client.mget(missing), strict=True)
        # A key that is gone belongs to a worker that is gone.
        missing = [key for key, value in seen if value is not None and int(value) < number]
        if not missing or loop.time() > deadline:
            break
        await asyncio.sleep(NUMBERS_EVERY)
    return len(workers), [key.decode().removeprefix(prefix + WORKER) for key in missing]


async def workers_present(client: Redis, prefix: str) -> list[bytes]:
    """The keys of all workers. Looks at every key. Raises RedisError, OSError."""
    pattern = escaped(prefix + WORKER) + "*"
    return [key async for key in client.scan_iter(match=pattern, count=10_000)]
