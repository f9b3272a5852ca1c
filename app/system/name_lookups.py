"""Look-ups of names in threads of our own, with a share for each part of the name space.

A thread inside getaddrinfo cannot be cancelled: if a name server is silent, the call returns only
after resolv.conf's timeout. So the names of one owner must not hold all threads.
"""

from __future__ import annotations

import asyncio
import encodings.idna  # noqa: F401 - getaddrinfo imports it, too late once root is given up
import errno
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeAlias

SocketAddress = tuple[int, tuple[object, ...]]  # family, and the argument of connect()
Found: TypeAlias = list[SocketAddress] | Exception
SystemLookup: TypeAlias = Callable[[str], list[SocketAddress]]

MAX_THREADS = 64
MAX_UNPROVEN = 48
"""Threads for names that never had an address; the rest stays free for the others."""
MAX_SILENT = 16
"""Threads for names that got no answer the last time."""
MAX_PER_DOMAIN = 16
"""Threads for the names with the same last two labels."""
MAX_PER_ZONE = 4
"""Threads for the names that differ in their first label only."""


def system_lookup(host: str) -> list[SocketAddress]:
    """The addresses of `host` with port 0, from this machine's resolver. Blocks.

    Raises socket.gaierror, OSError and UnicodeError.
    """
    found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


class Lookup(asyncio.Future[Found]):
    """One look-up that runs or waits for a thread, shared by all callers. Its result is the
    addresses or the error."""

    def __init__(self, host: str, *, proven: bool, silent: bool, since: float) -> None:
        super().__init__()
        self.host = host
        self.proven = proven
        self.silent = silent
        self.since = since
        self.share: Share | None = None
        """The share in whose queue it waits; None if it runs."""


class Share:
    """Runs at most `limit` look-ups at once; the others wait in order."""

    __slots__ = ("limit", "queue", "running")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running = 0
        self.queue: deque[Lookup] = deque()


class NameLookups:
    """Runs look-ups; use it within one event loop."""

    def __init__(self, lookup: SystemLookup = system_lookup) -> None:
        self._lookup = lookup
        self._shares: dict[tuple[str, str], Share] = {}

    def start(
        self, host: str, *, proven: bool = False, silent: bool = False, since: float = 0.0
    ) -> Lookup:
        """Look `host` up as soon as its shares allow.

        `proven`: it has had addresses before; `silent`: its last look-up got no answer;
        `since`: the time now.
        """
        lookup = Lookup(host, proven=proven, silent=silent, since=since)
        self._begin(lookup)
        return lookup

    def give_up(self, lookup: Lookup) -> bool:
        """Take `lookup` out of its queue; False if it runs, because it cannot be stopped then."""
        share = lookup.share
        if share is None:
            return False
        share.queue.remove(lookup)
        lookup.cancel()
        self._forget_unused(lookup)
        return True

    def _begin(self, lookup: Lookup) -> None:
        shares = [self._share(*each) for each in _shares_of(lookup)]
        lookup.share = next((each for each in shares if each.running >= each.limit), None)
        if lookup.share is not None:
            lookup.share.queue.append(lookup)
            return
        for share in shares:
            share.running += 1
        arguments = lookup.get_loop(), lookup
        try:
            threading.Thread(target=self._run, args=arguments, name="look-up", daemon=True).start()
        except RuntimeError:  # no memory for another thread, or a limit is reached
            error = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            lookup.get_loop().call_soon(self._end, lookup, error)

    def _run(self, loop: asyncio.AbstractEventLoop, lookup: Lookup) -> None:
        """Runs in a thread. Nothing waits for the thread at the end, because it may be stuck."""
        found: Found
        try:
            found = self._lookup(lookup.host)
        except (OSError, UnicodeError) as exc:
            found = exc
        except BaseException as exc:  # it must end for all who wait, and says nothing of the name
            found = OSError(errno.EIO, f"{type(exc).__name__}: {exc}")
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(self._end, lookup, found)

    def _end(self, lookup: Lookup, found: Found) -> None:
        lookup.set_result(found)
        shares = [self._share(*name) for name in _shares_of(lookup)]
        for share in shares:
            share.running -= 1
        for share in shares:
            while share.queue and share.running < share.limit:
                self._begin(share.queue.popleft())
        self._forget_unused(lookup)

    def _forget_unused(self, lookup: Lookup) -> None:
        """Keep no share that neither runs nor holds a look-up, now that this one is over."""
        for name in _shares_of(lookup):
            share = self._shares.get(name)
            if share is not None and not share.running and not share.queue:
                del self._shares[name]

    def _share(self, kind: str, name: str) -> Share:
        share = self._shares.get((kind, name))
        if share is None:
            share = self._shares[kind, name] = Share(_LIMITS[kind])
        return share


_LIMITS = {
    "zone": MAX_PER_ZONE,
    "domain": MAX_PER_DOMAIN,
    "silent": MAX_SILENT,
    "unproven": MAX_UNPROVEN,
    "all": MAX_THREADS,
}


def _shares_of(lookup: Lookup) -> Iterator[tuple[str, str]]:
    """The shares that count the thread of a look-up, the narrowest first."""
    zone, domain = zone_and_domain(lookup.host)
    yield "zone", zone
    yield "domain", domain
    if lookup.silent:
        yield "silent", ""
    if not lookup.proven:
        yield "unproven", ""
    yield "all", ""


def zone_and_domain(host: str) -> tuple[str, str]:
    """A name without its first label, and its last two labels; a short name is both.

    >>> zone_and_domain("db.Shop.Example.com.")
    ('shop.example.com', 'example.com')
    >>> zone_and_domain("www.example.com"), zone_and_domain("example.com")
    (('example.com', 'example.com'), ('example.com', 'example.com'))
    >>> zone_and_domain("localhost")
    ('localhost', 'localhost')
    """
    labels = host.lower().rstrip(".").split(".")
    start = min(1, max(0, len(labels) - 2))
    return ".".join(labels[start:]), ".".join(labels[-2:])
