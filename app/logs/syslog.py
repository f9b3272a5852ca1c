"""The address of a syslog, and the format of its lines (RFC 3164). Pure."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urlsplit

SyslogAddress = str | tuple[str, int]
"""The path of a Unix socket, or a host and UDP port."""

LOCAL = "/dev/log"
PORT = 514

_PRIORITY = 16 * 8 + 6  # local0, informational (RFC 3164 §4.1.1)
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def parse_address(target: str) -> SyslogAddress | None:
    """The address in `syslog`, `syslog:/path` or `syslog://host[:port]`; None for anything else.

    Raises ValueError where the address makes no sense.
    """
    scheme, _, rest = target.partition(":")
    if scheme != "syslog":
        return None
    if not rest:
        return LOCAL
    if rest.startswith("/") and not rest.startswith("//"):
        return rest
    url = urlsplit(target)
    if not url.hostname or url.path or url.query or url.fragment or url.username is not None:
        raise ValueError("expected syslog, syslog:/path or syslog://host:port")
    return url.hostname, url.port or PORT


def prefix(now: datetime, pid: int, hostname: str = "") -> str:
    """The beginning of each line. A local daemon adds the host's name itself (`hostname` empty).

    >>> prefix(datetime(2026, 2, 3, 4, 5, 6), 7)
    '<134>Feb  3 04:05:06 hipache[7]: '
    """
    at = f"{MONTHS[now.month - 1]} {now.day:2} {now:%H:%M:%S}"
    return f"<{_PRIORITY}>{at} {f'{hostname} ' if hostname else ''}hipache[{pid}]: "
