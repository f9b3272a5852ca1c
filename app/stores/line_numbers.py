"""Which line of a table's text a complaint is about. Pure."""

from __future__ import annotations

import re


def line_of(text: str, name: str, reason: str) -> int:
    """The line of the value that `reason` quotes if it is in the text, else that of the key."""
    start = max(_find(text, name, 0), 0)
    value = re.search(r"'([^']*)'", reason)
    there = _find(text, value.group(1), start) if value else -1
    return text.count("\n", 0, max(start, there)) + 1


def _find(text: str, word: str, start: int) -> int:
    quoted = text.find(f'"{word}"', start)
    return quoted if quoted >= 0 else text.find(word, start)
