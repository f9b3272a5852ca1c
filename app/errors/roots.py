"""The roots of the exception tree, and the exit status that one of them has."""

from __future__ import annotations

EX_CONFIG = 78
"""sysexits.h: the configuration is wrong; starting again will not help."""


class HipacheError(Exception):
    """Everything this project raises on purpose."""


class ConfigError(HipacheError):
    """The configuration cannot be used; the text names file, key and remedy in one line."""


class ProxyError(HipacheError):
    """A request the proxy answers itself, with `status` and this text."""

    status = 500
    message = "internal error"
    retry_after: int | None = None
    """Seconds for the `Retry-After` field, if waiting helps."""
    planned = False
    """Somebody wants it so: it is no failure, whatever the status."""
    fields: tuple[tuple[bytes, bytes], ...] = ()
    """More fields of our answer."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.message)
