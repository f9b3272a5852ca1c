"""Sets of addresses in CIDR notation. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network


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
