"""The members of a large JSON object, one after the other. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_after_space = re.compile(r"[ \t\n\r]*").match
_decode = json.JSONDecoder().raw_decode


def json_members(text: str) -> Iterator[tuple[str, Any]]:
    """Name and value of each. Raises what `json.loads` raises, and ValueError for no object."""
    at = _skip(text, 0)
    if text.startswith("{", at):
        at = _skip(text, at + 1)
        if _is_end(text, at):
            return
        while text.startswith('"', at):
            name, at = _decode(text, at)
            at = _skip(text, at)
            if not text.startswith(":", at):
                break
            value, at = _decode(text, _skip(text, at + 1))
            yield name, value
            at = _skip(text, at)
            if _is_end(text, at):
                return
            if not text.startswith(",", at):
                break
            at = _skip(text, at + 1)
    json.loads(text)  # it knows what is wrong
    raise ValueError("no object")


def _skip(text: str, at: int) -> int:
    found = _after_space(text, at)
    return found.end() if found else at


def _is_end(text: str, at: int) -> bool:
    return text.startswith("}", at) and _skip(text, at + 1) == len(text)
