"""Times as people write them, in a configuration and on a command line. Pure."""

from __future__ import annotations

import re

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds(text: str) -> float | None:
    """The seconds that `text` means; None if it is no time.

    >>> [seconds(text) for text in ("30", "1.5s", "10m", "2h", "7d", "10 minutes", "-1s")]
    [30.0, 1.5, 600.0, 7200.0, 604800.0, None, None]
    """
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([smhd]?)", text)
    return float(found[1]) * _UNITS[found[2]] if found else None
