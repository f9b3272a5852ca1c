"""Addresses that the proxy never connects to, whatever a route says. Pure.

Clouds give machines their credentials at well-known addresses. None of these is
a backend, but somebody with write access to routes alone could read them there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from ..fields.networks import Networks

METADATA = Networks.parse([
    "169.254.169.254", "fd00:ec2::254",  # Amazon, Google, Azure, Oracle and most others
    "169.254.170.2", "169.254.170.23", "fd00:ec2::23",  # Amazon's containers
    "fd20:ce::254",  # Google
    "100.100.100.200",  # Alibaba
    "168.63.129.16",  # Azure's host
    "192.0.0.192",  # Oracle
])  # fmt: skip
_CARRIERS = (
    (IPv6Network("::/96"), (0,)),  # IPv4-compatible (RFC 4291 §2.5.5.1)
    (IPv6Network("::ffff:0:0:0/96"), (0,)),  # IPv4-translated (RFC 2765 §2.1)
    (IPv6Network("64:ff9b::/96"), (0,)),  # NAT64 (RFC 6052 §2.1)
    # NAT64 of one's own (RFC 8215), where the prefix may be of 96, 64, 56 or 48 bits: an address
    # in bits 64 to 71 leaves that byte out (RFC 6052 §2.2).
    (IPv6Network("64:ff9b:1::/48"), (0, 24, 32, 40)),
    (IPv6Network("2002::/16"), (80,)),  # 6to4 (RFC 3056 §2)
)
"""IPv6 networks whose addresses lead to IPv4 ones, and how many bits follow such a one there.

IPv4-mapped addresses are missing: `Networks.match` knows them.
"""
_U_BYTE = 56
"""How many bits follow the byte that RFC 6052 keeps zero."""
_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*\.?")


@dataclass(frozen=True, slots=True)
class DenyList:
    """Addresses, names and sockets; the metadata addresses are always among them."""

    networks: Networks = METADATA
    names: frozenset[str] = frozenset()
    """Lower-case; `.example.com` stands for all names below it."""
    sockets: tuple[str, ...] = ()
    """Paths of unix sockets, or of folders with them."""

    def refuses(self, address: str) -> bool:
        """Whether a connection to this IP address is refused, however it is written."""
        try:
            ip = ip_address(address.partition("%")[0])
        except ValueError:
            return True
        return any(self.networks.match(str(each)) for each in (ip, *_carried(ip)))

    def refuses_name(self, host: str) -> bool:
        """Whether a name is refused, before it is resolved."""
        name = host.lower().removesuffix(".")
        return name in self.names or any(
            name.endswith(suffix) for suffix in self.names if suffix.startswith(".")
        )

    def refuses_socket(self, path: str) -> bool:
        """Whether a unix socket is refused; `path` has no links or dots left in it."""
        return any(path == p or path.startswith(p.rstrip("/") + "/") for p in self.sockets)


def _carried(ip: IPv4Address | IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses that an IPv6 address may lead to.

    >>> _carried(IPv6Address("2002:a9fe:a9fe::1"))
    [IPv4Address('169.254.169.254')]
    """
    if ip.version == 4 or ip.is_loopback or ip.is_unspecified:  # ::1 is not 0.0.0.1
        return []
    places = [place for network, places in _CARRIERS if ip in network for place in places]
    return [IPv4Address(_bits(int(ip), place)) for place in places]


def _bits(address: int, place: int) -> int:
    """32 bits before the last `place` ones, the byte left out that RFC 6052 keeps zero."""
    if place < _U_BYTE < place + 32:
        head, tail = address >> (_U_BYTE + 8), address & ((1 << _U_BYTE) - 1)
        address = head << _U_BYTE | tail
    return address >> place & 0xFFFFFFFF


def parse_deny_list(entries: Iterable[str]) -> DenyList:
    """Networks, names, `*.` and a name, `unix:/path`. Raises ValueError for anything else.

    >>> parse_deny_list(["10.0.0.0/8", "*.internal"]).refuses_name("db.internal")
    True
    """
    networks: list[str] = []
    names: set[str] = set()
    sockets: list[str] = []
    for entry in entries:
        if entry.startswith("unix:/"):
            sockets.append(entry.removeprefix("unix:"))
        elif re.fullmatch(r"[0-9./]+|[0-9A-Fa-f.:/]*:[0-9A-Fa-f.:/]*", entry):
            networks.append(entry)
        elif _NAME.fullmatch(entry):
            names.add(entry.lower().removeprefix("*").removesuffix("."))
        else:
            raise ValueError(f"{entry!r} is no network, no name and no unix:/path")
    return DenyList(
        Networks([*METADATA, *Networks.parse(networks)]), frozenset(names), tuple(sockets)
    )
