"""Certificates that live in the store, as planb and tsuru write them: hash `tls:<name>`.

OpenSSL asks for a certificate in the middle of a handshake and cannot await. So a
thread with an event loop of its own asks the store and hears of changes; the
handshake waits for it, but not for long.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import TimeoutError as NoAnswer
from contextlib import aclosing
from datetime import datetime
from itertools import islice
from math import inf
from operator import itemgetter
from time import monotonic
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

from ..config.structs import Config
from ..errors import StoreUnavailable
from ..stores import StoreDriver, driver_of
from ..stores.certificate_store import NO_PAIR, CertificateStore, Pair
from .certificates import expiry, wildcard

logger = logging.getLogger("hipache.tls")

LONGEST_WAIT = 0.05
"""Seconds that a handshake waits for the store; then it goes on with what is known."""
PAUSE_AFTER_FAILURE = 1.0
"""Seconds for which no handshake waits, after the store did not answer."""
UNTRACKED_FOR = 1.0
"""Seconds for which an answer is good while the store reports no changes."""
ANSWER_WITHIN, LIST_ANSWER_WITHIN = 1.0, 5.0
"""Seconds for one answer of the store: to a question of ours, and to the list of all."""
OLD = -inf
"""When a pair was read that may not be believed any more."""
AT_ONCE = 100
"""Certificates that are read in one round trip after they changed."""
MOST_WITHOUT = 10_000
"""Names without a certificate to remember: clients may ask for any."""

T = TypeVar("T")


class CertificateUser(Protocol):
    """Made something of a certificate."""

    def gone(self, name: str) -> None:
        """It is not there any more. Called in the thread that asks the store."""


class StoreCertificates:
    """One worker's view of all `tls:*`. The first question starts its thread."""

    def __init__(self, store: Callable[[], CertificateStore]) -> None:
        """`store` opens it, in the thread that will use it."""
        self._open = store
        self._known: dict[str, tuple[Pair, float]] = {}  # name -> PEMs and when they were read
        self._without: dict[str, None] = {}  # those of them that have none, in order
        self._tracked = False
        self._changes = 0  # pushes so far
        self._stale: set[str] = set()  # names in use whose certificate changed
        self._users: WeakSet[CertificateUser] = WeakSet()
        self._pause_until = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._store: CertificateStore | None = None
        self._over, self._heard = asyncio.Event(), asyncio.Event()

    @classmethod
    def of(cls, driver: StoreDriver) -> StoreCertificates | None:
        """None where that kind of store holds no certificates."""
        # More patient than a handshake: what comes late is there for the next one.
        if driver.certificates(timeout=ANSWER_WITHIN) is None:
            return None
        return cls(lambda: _opened(driver, ANSWER_WITHIN))

    def add_user(self, user: CertificateUser) -> None:
        """Tell it from now on, as long as it lives."""
        self._users.add(user)

    def forget(self, name: str) -> None:
        """Nobody needs this one for now. May be called from another thread."""
        self._known.pop(name, None)

    def pair(self, name: str) -> Pair:
        """Certificate and key of exactly this name, NO_PAIR if there are none."""
        found, read_at = self._known.get(name, (None, OLD))
        now = monotonic()
        if read_at != OLD and found and (self._tracked or now - read_at < UNTRACKED_FOR):
            return found
        if now >= self._pause_until:
            try:
                return self._ask(self._fetch(name))
            except (NoAnswer, StoreUnavailable) as exc:
                self._pause_until = now + PAUSE_AFTER_FAILURE
                logger.warning("certificate not read name=%s cause=%s", name, exc or "no answer")
        return found or NO_PAIR

    def _ask(self, question: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._run, args=(self._loop,), name="certificates", daemon=True
            )
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(question, self._loop).result(LONGEST_WAIT)

    def close(self) -> None:
        """End the thread and its connections; no question may follow."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(1.0)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._follow())

    async def _follow(self) -> None:
        store = self._store = self._open()
        tasks = {asyncio.create_task(each) for each in (store.watch(self), self._keep_fresh(store))}
        await self._over.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await store.aclose()

    async def _fetch(self, name: str) -> Pair:
        """The pair of `name`. Its wildcard is read along: without a pair it is asked for next."""
        assert self._store is not None
        names = (name,) if name.startswith("*") else (name, wildcard(name))
        changes = self._changes
        answers = await self._store.read(names)
        pairs = [_readable(each, answer) for each, answer in zip(names, answers, strict=True)]
        if changes == self._changes:  # else this may be what was there before
            for each, pair in zip(names, pairs, strict=True):
                self._remember(each, pair)
                if pair != NO_PAIR:
                    break
        return pairs[0]

    async def _keep_fresh(self, store: CertificateStore) -> None:
        """Read what changed and is in use, so that no handshake waits for it, and what is gone is
        dropped though nobody asks."""
        while True:
            await self._heard.wait()
            self._heard.clear()
            while names := list(islice(self._stale, AT_ONCE)):
                self._stale.difference_update(names)
                try:
                    answers = await store.read(names)
                except StoreUnavailable:
                    continue  # they are read when a client asks
                for name, answer in zip(names, answers, strict=True):
                    if name not in self._stale and name in self._known:
                        self._remember(name, _readable(name, answer))

    def _remember(self, name: str, pair: Pair) -> None:
        before, _ = self._known.get(name, (NO_PAIR, OLD))
        # What is read once more and is the same must not be there twice: the contexts hold it.
        self._known[name] = before if before == pair else pair, monotonic()
        if pair != NO_PAIR:
            self._without.pop(name, None)
            return
        for user in self._users:
            user.gone(name)
        self._without[name] = None
        if len(self._without) > MOST_WITHOUT:
            oldest = next(iter(self._without))
            del self._without[oldest]
            self.forget(oldest)

    # From the store (stores.certificates.CertificateListener).

    def tracking(self) -> None:
        """Every change is reported; what was read before may have changed unseen."""
        self._read_again(list(self._known))
        self._tracked = True

    def lost(self, reason: str) -> None:
        """No change is reported."""
        self._tracked = False

    def changed(self, names: Sequence[str] | None) -> None:
        """Have these names read again, with None all of them."""
        self._changes += 1
        self._read_again(list(self._known) if names is None else names)
        if names is not None:
            self._stale.update(n for n in names if n in self._known and n not in self._without)
            self._heard.set()

    def _read_again(self, names: Sequence[str]) -> None:
        """What was there before is served where the store is too slow for a handshake."""
        for name in names:
            if (known := self._known.get(name)) is not None:
                self._known[name] = known[0], OLD


def _readable(name: str, answer: Pair | StoreUnavailable) -> Pair:
    if isinstance(answer, StoreUnavailable):
        logger.warning("certificate not read name=%s cause=%s", name, answer)
        return NO_PAIR
    return answer


def _opened(driver: StoreDriver, timeout: float) -> CertificateStore:
    store = driver.certificates(timeout=timeout)
    assert store is not None
    return store


async def stored_expiries(config: Config) -> list[tuple[str, datetime | str]]:
    """Every `tls:<name>` of the store, and when its certificate ends or why that is unknown;
    for the metrics.

    Reads all of them, so call it rarely. Raises StoreUnavailable; a store that cannot
    hold certificates has none.
    """
    driver, acme = driver_of(config), config.https.acme
    store = driver.certificates(timeout=LIST_ANSWER_WITHIN)
    if store is None:
        if not acme.agree:
            return []
        ours = driver.issuance(acme.folder, timeout=LIST_ANSWER_WITHIN)
        return [(f"tls:{name}", _end(each.certificate)) async for name, each in ours.standing()]
    ends: dict[str, datetime | str] = {}
    try:
        async with aclosing(store.listed()) as listed:
            async for name, pem in listed:  # thousands of PEMs together would be a lot of memory
                ends[f"tls:{name}"] = _end(pem)
    except StoreUnavailable as exc:
        raise StoreUnavailable(f"certificates: {exc}") from exc
    finally:
        await store.aclose()
    return sorted(ends.items(), key=itemgetter(0))


def _end(pem: str | StoreUnavailable) -> datetime | str:
    if isinstance(pem, StoreUnavailable):
        return str(pem)
    try:
        return expiry(pem.encode())
    except (ValueError, IndexError) as exc:
        return str(exc)
