"""Where a name leads, and whether a connection may be made: certain only once it is resolved."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Callable, Iterable, Set
from functools import cached_property, lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from ..config.binds import Bind, HttpsBind
from ..config.deny_list import DenyList
from ..config.structs import Config
from ..errors import BackendForbidden, BackendIsUs, UpstreamUnresolved
from ..frontends.backends import SOCKETS
from ..routing import Backend
from ..system.name_lookups import SocketAddress
from ..system.resolver import Resolver, is_silence, loop_resolver

logger = logging.getLogger(__name__)

Bound = tuple[int, object]  # family, and what getsockname() gives

MAX_LOGGED = 1000
OWN_KNOWN = 0.01
"""Seconds for which the addresses of our own listeners are remembered: for as long as many
connections begin at once, as those of active checks do."""


class Destinations:
    """Where one worker connects to: to no denied address, and not to this proxy."""

    def __init__(
        self,
        deny: DenyList = DenyList(),  # noqa: B008 - immutable
        listening: Callable[[], Iterable[Bound]] = lambda: (),
    ) -> None:
        """`listening` gives the addresses of this proxy's own listeners."""
        self._deny = deny
        self._refuses = lru_cache(MAX_LOGGED)(deny.refuses)
        self._listening = listening
        self._own: list[Bound] = []
        self._own_until = -math.inf
        self._logged: set[str] = set()

    @cached_property
    def _resolver(self) -> Resolver:
        return loop_resolver()  # found when first needed, for only then there is a loop

    async def find(self, host: str, port: int, limit: float) -> list[SocketAddress]:
        """The addresses of `host`, found within `limit` seconds, that may be connected to.

        Raises UpstreamUnresolved, BackendForbidden, BackendIsUs, OSError and UnicodeError.
        """
        self.check_name(host)
        try:
            found = await self._resolver.find(host, port, limit=limit)
        except TimeoutError:
            raise UpstreamUnresolved from None
        except socket.gaierror as exc:
            if is_silence(exc):
                raise UpstreamUnresolved(f"{UpstreamUnresolved.message}: {exc.strerror}") from exc
            raise
        return self.filter_permitted(host, found)

    def objection(self, backend: Backend) -> BackendForbidden | None:
        """Why the proxy would never connect there, as far as known without resolving a name.

        For those who write routes and those who look at them: it says nothing in the log.
        """
        if backend.scheme in SOCKETS:
            real = os.path.realpath(backend.host)
            if self._deny.refuses_socket(real):
                return BackendForbidden()
            return BackendIsUs() if self._is_our_socket(real) else None
        if self._deny.names and self._deny.refuses_name(backend.host):
            return BackendForbidden()
        found = _literals(backend.host, backend.port)
        kept = [each for each in found if not self._refuses(str(each[1][0]))]
        if found and not kept:
            return BackendForbidden()
        return BackendIsUs() if kept and all(map(self._is_ours, kept)) else None

    def moved_from(self, host: str, interval: float) -> Set[str]:
        """As `Resolver.moved_from`."""
        return self._resolver.moved_from(host, interval)

    def check_name(self, host: str) -> None:
        """Raises BackendForbidden for a name that is denied."""
        if self._deny.names and self._deny.refuses_name(host):
            raise self._forbidden(host)

    def check_socket(self, path: str) -> None:
        """Raises BackendForbidden and BackendIsUs for a unix socket."""
        real = os.path.realpath(path)
        if self._deny.refuses_socket(real):
            raise self._forbidden(f"unix:{path}")
        if self._is_our_socket(real):
            raise BackendIsUs

    def filter_permitted(self, host: str, addresses: list[SocketAddress]) -> list[SocketAddress]:
        """The addresses of `host` that the proxy may connect to.

        Raises BackendForbidden and BackendIsUs where none is left.
        """
        kept = [each for each in addresses if not self._refuses(str(each[1][0]))]
        if addresses and not kept:
            raise self._forbidden(host)
        others = [each for each in kept if not self._is_ours(each)]
        if kept and not others:
            raise BackendIsUs
        return others

    def _forbidden(self, what: str) -> BackendForbidden:
        if what not in self._logged and len(self._logged) < MAX_LOGGED:
            self._logged.add(what)
            logger.warning("backend refused host=%s cause=server.denyBackends", what)
        return BackendForbidden()

    def _is_our_socket(self, real: str) -> bool:
        return any(
            family == socket.AF_UNIX and os.path.realpath(os.fsdecode(str(name))) == real
            for family, name in self._listening()
        )

    def _is_ours(self, address: SocketAddress) -> bool:
        family, where = address
        return any(
            ours != socket.AF_UNIX
            and isinstance(name, tuple)
            and name[1] == where[1]
            and _reaches(family, str(where[0]), str(name[0]))
            for ours, name in self._own_listeners()
        )

    def _own_listeners(self) -> list[Bound]:
        now = time.monotonic()
        if now >= self._own_until:
            self._own, self._own_until = [*self._listening()], now + OWN_KNOWN
        return self._own


def configured(config: Config) -> Destinations:
    """Where a proxy of this configuration connects to, for those who are not that proxy."""
    binds: list[Bind | HttpsBind] = [*config.http.binds, *config.https.binds]
    bound = [_bound(bind.address, bind.port) for bind in binds]
    return Destinations(config.server.deny_backends.value, lambda: filter(None, bound))


def _bound(address: str, port: int) -> Bound | None:
    """As getsockname() would give it; None for a name other than localhost."""
    if address.startswith("unix:"):
        return socket.AF_UNIX, address.removeprefix("unix:")
    literals = _literals(address, port)
    return literals[0] if literals else None


def _literals(host: str, port: int) -> list[SocketAddress]:
    """The addresses that a host is without a look-up; none for a name."""
    names = ("127.0.0.1", "::1") if f".{host}".endswith(".localhost") else (host,)
    found: list[SocketAddress] = []
    for name in names:
        try:
            version = ip_address(name.partition("%")[0]).version
        except ValueError:
            continue
        found.append((socket.AF_INET if version == 4 else socket.AF_INET6, (name, port)))
    return found


def _reaches(family: int, host: str, bound: str) -> bool:
    """Whether a connection to `host` arrives at a listener that is bound to `bound`."""
    target, listener = _plain(host), _plain(bound)
    if target.is_unspecified:  # which connects to the loopback interface
        target = ip_address("127.0.0.1" if target.version == 4 else "::1")
    if not listener.is_unspecified:
        return target == listener
    return target.is_loopback or _is_local(family, str(target))


def _is_local(family: int, host: str) -> bool:
    """Whether an address is this machine's: its own source address then. Sends nothing."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))
            return _plain(probe.getsockname()[0]) == _plain(host)
    except OSError:
        return False


def _plain(address: str) -> IPv4Address | IPv6Address:
    """Without a zone, and as IPv4 if it is that in disguise."""
    ip = ip_address(address.partition("%")[0])
    return (ip.ipv4_mapped or ip) if ip.version == 6 else ip
