"""From an origin to a connected socket: names, several addresses, TLS, unix sockets."""

from __future__ import annotations

import asyncio
import errno
import math
import os
import socket
import ssl
from asyncio import BaseEventLoop
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TypeVar

from ..errors import (
    UpstreamConnectTimeout,
    UpstreamExhausted,
    UpstreamTLSFailure,
    UpstreamUnreachable,
)
from ..frontends.backends import ALPN, SOCKETS, TLS
from ..system.name_lookups import SocketAddress
from .destinations import Destinations
from .tls_contexts import ContextSource

Origin = tuple[str, str, int]

ATTEMPT_DELAY = 0.25
"""Seconds one address has before the next one is tried beside it (RFC 8305 §5)."""

OUR_SHORTAGES = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)
"""This machine has run out of files, memory or local ports. No backend is to blame."""

P = TypeVar("P", bound=asyncio.Protocol)


async def connect(
    origin: Origin,
    factory: Callable[[], P],
    tls: ContextSource,
    limit: float,
    destinations: Destinations,
) -> P:
    """Connect to `(scheme, host, port)` within `limit` seconds, which may be infinite.

    The path of a socket stands in place of a host. Raises UpstreamUnreachable and
    its subclasses.
    """
    scheme, host, port = origin
    due = None if limit == math.inf else asyncio.get_running_loop().time() + limit
    try:
        if scheme in SOCKETS:
            destinations.check_socket(host)
            addresses = []
        else:
            addresses = await destinations.find(host, port, limit)
        async with asyncio.timeout_at(due):
            return await _dial(origin, addresses, factory, tls)
    except TimeoutError:
        raise UpstreamConnectTimeout from None
    except ssl.SSLError as exc:
        raise UpstreamTLSFailure(f"TLS with the backend failed: {exc.reason or exc}") from exc
    except UnicodeError as exc:  # IDNA knows no such name
        raise UpstreamUnreachable(f"cannot connect to the backend: {exc}") from exc
    except OSError as exc:
        # asyncio's own loop writes other words, and the address, into strerror
        code = exc.errno or 0
        why = os.strerror(code) if code > 0 else exc.strerror or str(exc)
        if code in OUR_SHORTAGES:
            raise UpstreamExhausted(f"the proxy cannot open another connection: {why}") from exc
        raise UpstreamUnreachable(f"cannot connect to the backend: {why}") from exc


@dataclass(frozen=True, slots=True)
class Dialler:
    """Connects to one origin, in the same way each time."""

    origin: Origin
    tls: ContextSource
    limit: float
    """Seconds for one connection."""
    destinations: Destinations

    async def connect(self, factory: Callable[[], P]) -> P:
        """Raises UpstreamUnreachable and its subclasses."""
        return await connect(self.origin, factory, self.tls, self.limit, self.destinations)

    def moved_from(self, interval: float) -> Set[str]:
        """Addresses that the origin's name had and has no longer; asked each `interval` seconds."""
        return self.destinations.moved_from(self.origin[1], interval)


async def _dial(
    origin: Origin,
    addresses: list[SocketAddress],
    factory: Callable[[], P],
    tls: ContextSource,
) -> P:
    """Try all `addresses`. The certificate is checked against the host, which is sent as SNI too.

    Raises OSError, ssl.SSLError among them.
    """
    loop = asyncio.get_running_loop()
    scheme, host, port = origin
    if scheme in SOCKETS:
        _, protocol = await loop.create_unix_connection(factory, host)
        return protocol
    family, where = addresses[0] if len(addresses) == 1 else (0, ("", 0))
    if family == socket.AF_INET and scheme not in TLS and not isinstance(loop, BaseEventLoop):
        # uvloop connects to such an address in C: with half the work, and without a thread.
        _, protocol = await loop.create_connection(factory, str(where[0]), port)
        return protocol
    sock = await first_to_connect(addresses)
    try:
        _, protocol = await loop.create_connection(
            factory,
            sock=sock,
            ssl=(tls(http2=True) if scheme == ALPN else tls()) if scheme in TLS else None,
            server_hostname=host if scheme in TLS else None,
        )
        return protocol
    except BaseException:
        sock.close()
        raise


def _alternate(addresses: list[SocketAddress]) -> list[SocketAddress]:
    """In the resolver's order, but with every second one of the other family.

    >>> _alternate([(10, ("a",)), (10, ("b",)), (2, ("c",))])
    [(10, ('a',)), (2, ('c',)), (10, ('b',))]
    """
    first = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    return [address for address in chain(*zip_longest(first, others)) if address is not None]


async def first_to_connect(addresses: list[SocketAddress]) -> socket.socket:
    """The first socket that connects; an address that fails or takes long starts the next.

    Each family is tried in turn (RFC 8305 §4). Raises OSError.
    """
    if len(addresses) == 1:
        return await _connect(addresses[0])
    attempts: set[asyncio.Task[socket.socket]] = set()
    waiting = list(reversed(_alternate(addresses)))
    failure: OSError | None = None
    try:
        while waiting or attempts:
            if waiting:
                attempts.add(asyncio.create_task(_connect(waiting.pop())))
            done, _ = await asyncio.wait(
                attempts,
                timeout=ATTEMPT_DELAY if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for attempt in done:
                attempts.discard(attempt)
                error = attempt.exception()
                if error is None:
                    attempts |= done - {attempt}
                    return attempt.result()
                if not isinstance(error, OSError):
                    raise error
                if failure is None or failure.errno in OUR_SHORTAGES:
                    failure = error  # an address family that is switched off says nothing
        raise failure or OSError("the name has no address")
    finally:
        await _call_off(attempts)


async def _call_off(attempts: Iterable[asyncio.Task[socket.socket]]) -> None:
    for attempt in attempts:
        attempt.cancel()
    for result in await asyncio.gather(*attempts, return_exceptions=True):
        if isinstance(result, socket.socket):
            result.close()


async def _connect(address: SocketAddress) -> socket.socket:
    """Not by the loop's `sock_connect`: uvloop's takes a thread, and silent look-ups hold those."""
    family, where = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        code = sock.connect_ex(where)
        if code == errno.EINPROGRESS:
            code = await _outcome(sock)
        if code:
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


async def _outcome(sock: socket.socket) -> int:
    """What becomes of a connection that is being made: 0 or an errno."""
    loop = asyncio.get_running_loop()
    writable = asyncio.Event()
    loop.add_writer(sock, writable.set)
    try:
        await writable.wait()
    finally:
        loop.remove_writer(sock)
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
