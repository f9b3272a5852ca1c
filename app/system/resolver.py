"""Resolves names: one look-up serves all callers, and known addresses outlast an outage."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import time
from collections.abc import Callable, Set
from functools import lru_cache, partial
from weakref import WeakKeyDictionary

from .name_lookups import Found, Lookup, NameLookups, SocketAddress, SystemLookup, system_lookup

logger = logging.getLogger(__name__)

FRESH = 1.0
"""Seconds for which an answer is reused, also the answer that a name does not exist."""
FALLBACK_AFTER = 0.5
"""Seconds that an answer may take before the last known addresses are used."""
REST = 3.0
"""After a look-up without an answer, the name is not looked up again for this many times as long
as that took: the later attempts of a request do not wait for it again."""
MAX_REST = 10.0
MAX_NAMES = 20_000
FORMER_KEPT = 7200.0
"""Seconds for which a former address of a name is remembered."""
LOG_AGAIN_AFTER = 60.0
"""Seconds without a use of last known addresses after which the next use is logged again."""

SILENCE = frozenset({socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_MEMORY})
"""Errors that mean that the resolver does not know, not that the name does not exist."""


def is_silence(error: Exception) -> bool:
    """Whether an error of a look-up says nothing about the name."""
    if isinstance(error, socket.gaierror):
        return error.errno in SILENCE
    return isinstance(error, OSError)


class Resolver:
    """All connections of one event loop share one, with its memory and threads: `loop_resolver`."""

    def __init__(
        self,
        lookup: SystemLookup = system_lookup,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._lookups = NameLookups(lookup)
        self._names: dict[str, _Name] = {}
        self._last_logged = -math.inf

    async def find(self, host: str, port: int, *, limit: float = math.inf) -> list[SocketAddress]:
        """The addresses of `host`, in the system's order. `host` may be an address itself.

        A look-up has `limit` seconds from its start, also if another caller started it. If it
        fails but the name may exist, the last known addresses are used. Raises TimeoutError,
        socket.gaierror, OSError and UnicodeError.
        """
        name = self._names.get(host)
        if name is None:
            try:  # an address needs no resolver, and no thread for it
                return _numeric(host, port)
            except socket.gaierror:
                name = self._new(host)
        now = self._clock()
        if now - name.answered >= FRESH:
            await self._ask(name, now, limit)
        return [(family, (where[0], port, *where[2:])) for family, where in self._known(name)]

    def moved_from(self, host: str, interval: float) -> Set[str]:
        """The addresses that the name `host` no longer has.

        Call this again and again while the name is in use. It looks the name up twice in
        `interval` seconds, and so notices a move within that time.
        """
        name = self._names.get(host)
        if name is None:
            return frozenset()
        now = self._clock()
        if now - name.tried >= interval / 2:
            self._look_up(name, now)
        return name.left(interval) if len(name.seen) > 1 else frozenset()

    async def _ask(self, name: _Name, now: float, limit: float) -> None:
        """Wait for an answer, or until the last known addresses are to be used."""
        lookup = self._look_up(name, now)
        if lookup is None:
            return
        if name.addresses:
            limit = 0.0 if name.error else min(limit, FALLBACK_AFTER)
        left = lookup.since + limit - now
        if left <= 0:
            return
        name.askers += 1
        try:
            await asyncio.wait({lookup}, timeout=None if left == math.inf else left)
        finally:
            name.askers -= 1
            if not name.askers and not name.addresses and self._lookups.give_up(lookup):
                name.lookup = None
        if lookup.cancelled():  # no thread was free for it in all this time
            now = self._clock()
            name.rest(now - lookup.since, now)

    def _look_up(self, name: _Name, now: float) -> Lookup | None:
        """The running look-up, or a new one; None if the name is not to be looked up now."""
        if name.lookup is None and now >= name.rests_until:
            if not name.addresses:
                name.error = None
            name.lookup = self._lookups.start(
                name.host, proven=bool(name.addresses), silent=name.silent, since=now
            )
            name.lookup.add_done_callback(partial(self._answered, name))
        return name.lookup

    def _answered(self, name: _Name, lookup: Lookup) -> None:
        if lookup.cancelled():
            return
        name.lookup = None
        now = self._clock()
        if name.take(lookup.result(), lookup.since, now) and name.logged:
            name.logged = False
            logger.info("resolver answers again host=%s", name.host)
        if self._names.get(name.host) is name:  # the oldest answers are forgotten first
            self._names[name.host] = self._names.pop(name.host)

    def _known(self, name: _Name) -> list[SocketAddress]:
        """The addresses that are known now. Raises the last error if there are none."""
        if not name.addresses:
            raise TimeoutError if name.error is None else _again(name.error)
        if name.error is not None:
            self._warn(name)
        return name.addresses

    def _warn(self, name: _Name) -> None:
        now = self._clock()
        if now - self._last_logged >= LOG_AGAIN_AFTER:
            name.logged = True
            logger.warning(
                "resolver silent, last known addresses are used host=%s cause=%s",
                name.host, name.error,
            )  # fmt: skip
        self._last_logged = now

    def _new(self, host: str) -> _Name:
        while len(self._names) >= MAX_NAMES:
            del self._names[next(iter(self._names))]
        name = self._names[host] = _Name(host)
        return name


_resolvers: WeakKeyDictionary[asyncio.AbstractEventLoop, Resolver] = WeakKeyDictionary()


def loop_resolver() -> Resolver:
    """The resolver of the running event loop; use it instead of the loop's `getaddrinfo`."""
    loop = asyncio.get_running_loop()
    resolver = _resolvers.get(loop)
    if resolver is None:
        resolver = _resolvers[loop] = Resolver()
    return resolver


class _Name:
    """What is known about one name. Times are on the resolver's clock."""

    __slots__ = (
        "addresses", "answered", "askers", "error", "host", "logged", "lookup", "rests_until",
        "seen", "silent", "tried",
    )  # fmt: skip

    def __init__(self, host: str) -> None:
        self.host = host
        self.addresses: list[SocketAddress] = []
        self.answered = -math.inf
        self.tried = -math.inf
        """When the last look-up ended, whatever it found."""
        self.error: Exception | None = None
        """What the last look-up ended with, if not with addresses."""
        self.rests_until = -math.inf
        self.lookup: Lookup | None = None
        self.askers = 0
        self.seen: dict[str, float] = {}
        """When each address was last in an answer."""
        self.silent = False
        """Whether the last look-up got no answer."""
        self.logged = False

    def take(self, found: Found, since: float, now: float) -> bool:
        """Store the result of a look-up that began at `since`; returns whether it was addresses."""
        self.tried = now
        if isinstance(found, Exception):
            self.error, self.silent = found, is_silence(found)
            if self.silent:
                self.rest(now - since, now)
            else:
                self.addresses = []
                self.rests_until = now + FRESH
            return False
        self.addresses, self.answered, self.error, self.silent = found, now, None, False
        self.seen = {ip: at for ip, at in self.seen.items() if now - at < FORMER_KEPT}
        self.seen |= {plain(where[0]): now for _, where in found}
        return True

    def left(self, interval: float) -> Set[str]:
        """The addresses that have been missing from the answers for a while.

        A server may return some of its many addresses at a time, so one miss is not a move.
        """
        first, last = 0.4 * interval, 2 * interval
        return {ip for ip, at in self.seen.items() if first <= self.answered - at < last}

    def rest(self, waited: float, now: float) -> None:
        """Do not look the name up for a while: there was no answer for `waited` seconds."""
        self.rests_until = now + min(max(REST * waited, FRESH), MAX_REST)


def plain(address: object) -> str:
    """An IP address without the zone that a link-local one may have."""
    return str(address).partition("%")[0]


def _numeric(host: str, port: int) -> list[SocketAddress]:
    """The address that `host` is. Raises socket.gaierror if it is a name."""
    # The number of a zone may be another one tomorrow; all else of an address stays.
    found = (_parsed if "%" in host else _known_address)(host)
    return [(family, (where[0], port, *where[2:])) for family, where in found]


def _parsed(host: str) -> tuple[SocketAddress, ...]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return tuple((family, address) for family, _, _, _, address in found)


_known_address = lru_cache(16_384)(_parsed)
"""Parsing takes a sixth of a check of a backend, and a worker may check some thousands of them in
turn: a memory that is too small for all would never be of use."""


def _again(error: Exception) -> Exception:
    """A copy of the error for another caller: each raises it with its own traceback."""
    return type(error)(*error.args)
