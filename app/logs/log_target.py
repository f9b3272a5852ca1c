"""Where the access log goes: standard output, a syslog or a file. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from .syslog import SyslogAddress, parse_address


@dataclass(frozen=True, slots=True)
class LogTarget:
    """Standard output has neither a syslog nor a file."""

    file: str | None = None
    """The path."""
    syslog: SyslogAddress | None = None


def parse_target(text: str) -> LogTarget:
    """`stdout`, `syslog…`, else the path of a file. Raises ValueError for what is none of them.

    >>> parse_target("log/access.log")
    LogTarget(file='log/access.log', syslog=None)
    """
    if not (text and text.isprintable()):
        raise ValueError("expected a path, stdout, syslog or null")
    if text == "stdout":
        return LogTarget()
    address = parse_address(text)
    return LogTarget(file=text if address is None else None, syslog=address)
