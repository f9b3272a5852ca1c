"""Rate limits by the generic cell rate algorithm. Pure.

For each client one number is kept: the time at which its next request would be
due if its requests came evenly. A client that is too early for its burst waits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

ROUNDING = 1e-6
"""Seconds: sums of floats differ by less, clocks by more."""

_PERIODS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_RATE = re.compile(r"([0-9]{1,7})/([smh])(?: +burst +([0-9]{1,7}))?")


@dataclass(frozen=True, slots=True)
class Rate:
    """`interval` seconds from one request to the next, `burst` of which may come at once."""

    interval: float
    burst: int

    @property
    def tolerance(self) -> float:
        """Seconds by which a request may be early."""
        return self.interval * (self.burst - 1)


def parse_rate(text: str) -> Rate | None:
    """`N/s`, `N/m` or `N/h`, with ` burst B` behind it; None for `off`. Raises ValueError.

    >>> parse_rate("120/m burst 10")
    Rate(interval=0.5, burst=10)
    >>> parse_rate("5/s")
    Rate(interval=0.2, burst=5)
    """
    if text.lower() in ("off", ""):
        return None
    match = _RATE.fullmatch(text.strip())
    number, burst = (int(match[1]), int(match[3] or match[1])) if match else (0, 0)
    if match is None or not number or not burst:
        raise ValueError("expected off, or N/s, N/m or N/h, as in '10/s' or '600/m burst 20'")
    return Rate(_PERIODS[match[2]] / number, burst)


def take(due: float, now: float, rate: Rate) -> tuple[float, float]:
    """Count a request at `now` of a client whose next one was `due`.

    Returns when the following one is due, and by how many seconds this one is
    too early: it passes with 0, and is not counted otherwise.

    >>> take(0.0, 100.0, Rate(1.0, 2)), take(102.0, 100.0, Rate(1.0, 2))
    ((101.0, 0.0), (102.0, 1.0))

    A `due` from before the rate was edited keeps nobody out for longer than this rate does.
    """
    due = min(max(due, now), now + rate.tolerance + rate.interval)
    early = due - rate.tolerance - now
    return (due, early) if early > ROUNDING else (due + rate.interval, 0.0)


def one_client(address: str) -> str:
    """What counts as one client: an IPv4 address, an IPv6 /64 (RFC 6177 gives each site more).

    >>> one_client("2001:db8:1:2:3::4"), one_client("::ffff:192.0.2.1")
    ('2001:db8:1:2::', '192.0.2.1')
    """
    if ":" not in address:
        return address
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if ip.version == 4:
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ip_address(int(ip) >> 64 << 64))
