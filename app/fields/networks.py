"""Sets of addresses: networks in CIDR notation, and unix sockets. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

UNIX = "unix:"
"""The address of every client that comes over a unix socket. It is in no network."""


class Networks(tuple[IPv4Network | IPv6Network, ...]):
    """Address ranges in CIDR notation; a bare address is a range of one."""

    __slots__ = ()

    @classmethod
    def parse(cls, ranges: Iterable[str]) -> Networks:
        """Raises ValueError for text that is no range, or has host bits set."""
        return cls(ip_network(text) for text in ranges)

    def match(self, address: str) -> bool:
        """Whether `address` lies in one of the ranges; an IPv4-mapped one counts as IPv4."""
        try:
            ip = ip_address(address)
        except ValueError:
            return False
        ip = (ip.ipv4_mapped or ip) if ip.version == 6 else ip
        return any(ip.version == network.version and ip in network for network in self)


NONE = Networks()


@dataclass(frozen=True, slots=True)
class Peers:
    """Those who connect from these networks, and perhaps over unix sockets."""

    networks: Networks = NONE
    unix: bool = False

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Peers:
        """Networks, and the word `unix:`. Raises ValueError for any other text."""
        texts = list(entries)
        return cls(Networks.parse(text for text in texts if text != UNIX), UNIX in texts)

    def __bool__(self) -> bool:
        return self.unix or bool(self.networks)

    def match(self, address: str) -> bool:
        """Whether a peer at `address` is one of them."""
        return self.unix if address == UNIX else self.networks.match(address)
