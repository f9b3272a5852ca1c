"""Addresses that the proxy never connects to, whatever a route says. Pure.

Clouds give machines their credentials at well-known addresses. None of these is
a backend, but somebody with write access to routes alone could read them there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from ..fields.networks import Networks

METADATA = Networks.parse([
    "169.254.169.254", "fd00:ec2::254",  # Amazon, Google, Azure, Oracle and most others
    "169.254.170.2", "169.254.170.23", "fd00:ec2::23",  # Amazon's containers
    "fd20:ce::254",  # Google
    "100.100.100.200",  # Alibaba
    "168.63.129.16",  # Azure's host
    "192.0.0.192",  # Oracle
])  # fmt: skip
_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in its last four bytes
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
        if isinstance(ip, IPv6Address) and ip in _NAT64:
            ip = ip_address(int(ip) & 0xFFFFFFFF)
        return self.networks.match(str(ip))

    def refuses_name(self, host: str) -> bool:
        """Whether a name is refused, before it is resolved."""
        name = host.lower().removesuffix(".")
        return name in self.names or any(
            name.endswith(suffix) for suffix in self.names if suffix.startswith(".")
        )

    def refuses_socket(self, path: str) -> bool:
        """Whether a unix socket is refused; `path` has no links or dots left in it."""
        return any(path == p or path.startswith(p.rstrip("/") + "/") for p in self.sockets)


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
