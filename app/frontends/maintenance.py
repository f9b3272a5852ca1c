"""A frontend under maintenance: the fields `maintenance…` of `options:<host>`. Pure.

    maintenance        on, off, or what visitors are told (which is on, too)
    maintenanceRetry   seconds after which visitors may come again (default 300)
    maintenanceAllow   networks that see the site all the same
    pause              seconds that requests wait at most, instead of failing

Nobody can mistype the site open: every value but `off` shuts it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..fields.networks import Networks

MAX_RETRY = 7 * 86_400
MAX_PAUSE = 600
MAX_MESSAGE = 500
DEFAULT_MESSAGE = "this site is under maintenance"

_NOBODY = Networks()


@dataclass(frozen=True, slots=True)
class Maintenance:
    """What visitors get instead of the site."""

    message: str = DEFAULT_MESSAGE
    retry_after: int = 300
    """Seconds."""
    allow: Networks = _NOBODY
    """Those who see the site."""

    def in_words(self) -> str:
        """A guard's line in an explanation."""
        but = f" but from {' '.join(map(str, self.allow))}" if self.allow else ""
        return f"under maintenance{but}: {self.message}"


def is_off(value: str) -> bool:
    """Whether this value of `maintenance` leaves the site open."""
    return value.strip().lower() == "off"


def parse_message(value: str) -> str:
    """What `maintenance` tells visitors."""
    text = value.strip()
    return DEFAULT_MESSAGE if text.lower() in ("", "on", "off") else text[:MAX_MESSAGE]


def parse_retry(value: str) -> int:
    """Seconds. Raises ValueError."""
    if not re.fullmatch(r"[0-9]{1,6}", value) or not 0 < int(value) <= MAX_RETRY:
        raise ValueError(f"expected whole seconds up to {MAX_RETRY}")
    return int(value)


def parse_pause(value: str) -> int:
    """Seconds. Raises ValueError."""
    if not re.fullmatch(r"[0-9]{1,3}", value) or int(value) > MAX_PAUSE:
        raise ValueError(f"expected whole seconds up to {MAX_PAUSE}")
    return int(value)
