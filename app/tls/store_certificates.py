"""Certificates that live in the store, as planb and tsuru write them: hash `tls:<name>`.

OpenSSL asks for a certificate in the middle of a handshake and can not await.
So a thread with an event loop of its own asks the store, and tells by pushes
what changed; the handshake waits for it, but not for long.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import TimeoutError as NoAnswer
from datetime import datetime
from operator import itemgetter
from time import monotonic
from typing import Any, TypeVar

from redis.exceptions import RedisError, ResponseError

from ..config.driver import Driver, parse_driver
from ..errors import ConfigError, StoreUnavailable
from ..stores.embedded.store import EmbeddedServer
from ..stores.redis.connections import Connections
from ..stores.redis.replies import text
from ..stores.redis.tracking import Tracker
from .certificates import expiry, load_text, wildcard

logger = logging.getLogger("hipache.tls")

LONGEST_WAIT = 0.05
"""Seconds that a handshake waits for the store; then it goes on with what is known."""
PAUSE_AFTER_FAILURE = 1.0
"""Seconds in which a store that did not answer is not waited for again."""
UNTOLD_FOR = 1.0
"""Seconds that an answer is believed while the store tells no changes."""
MOST = 10_000
"""Names remembered, those without a certificate too."""

T = TypeVar("T")
Pair = tuple[str, str]
NOTHING: Pair = ("", "")


class StoreCertificates:
    """One worker's view of all `tls:*`. Starts its thread with the first question."""

    def __init__(self, driver: Driver) -> None:
        self._prefix = f"{driver.prefix}tls:"
        self._driver = driver
        self._known: dict[str, tuple[Pair, float]] = {}  # name -> PEMs and when they were read
        self._told = False
        self._changes = 0  # pushes so far
        self._pause_until = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections: Connections | None = None
        self._over = asyncio.Event()

    @classmethod
    def of(cls, urls: tuple[str, ...]) -> StoreCertificates | None:
        """For the store that is read from; None if it can hold no certificates."""
        driver = parse_driver(urls[0])
        if driver.scheme == "file":
            return None
        if driver.scheme == "embedded":
            driver = EmbeddedServer(driver.path).driver
        return cls(driver)

    async def expiries(self) -> list[tuple[str, datetime | str]]:
        """As `stored_expiries`, which see."""
        connections = Connections(self._driver, timeout=5.0)
        found: list[tuple[str, datetime | str]] = []
        try:
            async for key in connections.client.scan_iter(match=f"{self._prefix}*", count=1000):
                name = f"tls:{text(key).removeprefix(self._prefix)}"
                try:
                    pem = await connections.client.hget(key, "certificate")
                    found.append((name, expiry(text(pem or b"").encode())))
                except (ResponseError, ValueError, IndexError) as exc:
                    found.append((name, str(exc)))
        except (OSError, RedisError) as exc:
            raise StoreUnavailable(f"certificates: {exc}") from exc
        finally:
            await connections.aclose()
        return sorted(found, key=itemgetter(0))

    def source(self, new: Callable[[], ssl.SSLContext]) -> Callable[[str], ssl.SSLContext | None]:
        """Contexts made by `new` for what is in the store."""
        return StoreSource(self, new).context

    def pair(self, name: str) -> Pair:
        """Certificate and key of exactly this name, NOTHING if there are none."""
        found, read_at = self._known.get(name, (None, 0.0))
        now = monotonic()
        if found is not None and (self._told or now - read_at < UNTOLD_FOR):
            return found
        if now >= self._pause_until:
            try:
                return self._ask(self._fetch(name))
            except (NoAnswer, OSError, RedisError) as exc:
                self._pause_until = now + PAUSE_AFTER_FAILURE
                logger.warning("certificate not read name=%s cause=%s", name, exc or "no answer")
        return found or NOTHING

    def _ask(self, question: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._run, args=(self._loop,), name="certificates", daemon=True
            )
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(question, self._loop).result(LONGEST_WAIT)

    def close(self) -> None:
        """End the thread and its connections; for whoever asks nothing more."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(1.0)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        # More patient than a handshake: what comes late is there for the next one.
        self._connections = Connections(self._driver, timeout=1.0)
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._follow(self._connections))

    async def _follow(self, connections: Connections) -> None:
        tracker = Tracker(
            connections, [self._prefix], on_keys=self._changed, listener=self,
            prepare=_at_once, landmark=self._prefix, on_landmark=lambda value: None,
        )  # fmt: skip
        tracking = asyncio.create_task(tracker.run())
        await self._over.wait()
        tracking.cancel()
        await asyncio.wait({tracking})
        await connections.aclose()

    async def _fetch(self, name: str) -> Pair:
        """That of `name`. Its wildcard, asked for next, comes with it: one wait is enough."""
        assert self._connections is not None
        names = (name,) if name.startswith("*") else (name, wildcard(name))
        changes = self._changes
        answers = await self._connections.ask(
            [("HMGET", f"{self._prefix}{each}", "certificate", "key") for each in names]
        )
        pairs = [_pair(each, answer) for each, answer in zip(names, answers, strict=True)]
        if changes == self._changes:  # else this may be what was there before
            for each, pair in zip(names, pairs, strict=True):
                if len(self._known) >= MOST:
                    self._known.pop(next(iter(self._known)), None)
                self._known[each] = pair, monotonic()
        return pairs[0]

    def _changed(self, keys: list[bytes] | None) -> None:
        self._changes += 1
        if keys is None:
            self._known.clear()
            return
        for key in keys:
            self._known.pop(text(key).removeprefix(self._prefix), None)

    # From the tracker.

    def tracking(self) -> None:
        """Every change will be told; what was read before may have changed untold."""
        self._known.clear()
        self._told = True

    def lost(self, reason: str) -> None:
        """No change is told."""
        self._told = False

    unreachable = refused = lost

    def heard(self) -> None:
        """Nothing hangs on it."""


def _pair(name: str, answer: list[bytes | None] | ResponseError) -> Pair:
    if isinstance(answer, ResponseError):
        logger.warning("certificate not read name=%s cause=%s", name, answer)
        return NOTHING
    certificate, key = (text(value) if value else "" for value in answer)
    return (certificate, key) if certificate and key else NOTHING


async def stored_expiries(
    urls: tuple[str, ...],
) -> list[tuple[str, datetime | str]]:
    """Every `tls:<name>` of the store that is read from, and when its certificate ends or why
    that is unknown; for `hipache doctor` and the metrics.

    Reads all of them: for once in a while, not for each question. Raises
    StoreUnavailable; a store that can hold none has none.
    """
    stored = StoreCertificates.of(urls)
    return await stored.expiries() if stored is not None else []


async def _at_once() -> None:
    """Nothing has to be prepared before connecting."""


class StoreSource:
    """Contexts for what is in the store: made when first asked for, again when it changed."""

    def __init__(self, certificates: StoreCertificates, new: Callable[[], ssl.SSLContext]) -> None:
        self._certificates = certificates
        self._new = new
        self._contexts: dict[str, tuple[Pair, ssl.SSLContext | None]] = {}

    def context(self, name: str) -> ssl.SSLContext | None:
        """That of exactly this name; a broken one is named once, and the old one stays."""
        pair = self._certificates.pair(name)
        if pair is NOTHING or pair == NOTHING:
            self._contexts.pop(name, None)
            return None
        seen, context = self._contexts.get(name, (NOTHING, None))
        if pair != seen:
            try:
                context = load_text(self._new(), *pair, name=f"tls:{name}")
            except ConfigError as exc:
                logger.error("certificate refused: %s", exc)
            self._contexts[name] = pair, context
        return context
