"""The members of a large JSON object, one after the other. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import IO, Any

AT_ONCE = 1 << 20
"""Characters of a file that are read at once."""

_after_space = re.compile(r"[ \t\n\r]*").match
_raw_decode = json.JSONDecoder().raw_decode


def _decode(text: str, at: int) -> tuple[Any, int]:
    try:
        return _raw_decode(text, at)
    except RecursionError:
        raise json.JSONDecodeError("nested too deeply", text, at) from None


def json_members(text: str) -> Iterator[tuple[str, Any]]:
    """Name and value of each. Raises what `json.loads` raises, and ValueError for no object."""
    at = _skip(text, 0)
    if not text.startswith("{", at):
        if not text.startswith(("[", '"'), at):
            json.loads(text)  # it sees at once what is wrong
        raise ValueError("no object")
    begun = at = _skip(text, at + 1)
    if _is_end(text, at):
        return
    while text.startswith('"', at):
        begun = at
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
    try:  # what stands before this member is right, and may be long
        json.loads("{" + text[begun:])
    except json.JSONDecodeError as exc:
        raise json.JSONDecodeError(exc.msg, text, exc.pos + begun - 1) from None


def read_members(file: IO[str], at_once: int = AT_ONCE) -> Iterator[tuple[str, Any]]:
    """The same of a file, of which little is in memory at a time.

    Raises ValueError where it is no such object; of its text, `json_members` says why.
    """
    text, at, sign = file.read(at_once), 0, "{"
    while True:
        if found := _member(text, at, sign):
            name, value, at = found
            yield name, value
            sign = ","
            if text[at] == "}" and _is_end(text + file.read(), at):
                return
        elif more := file.read(max(at_once, len(text) - at)):  # one may be longer than that
            text, at = text[at:] + more, 0
        elif sign == "{" and json.loads(text) == {}:
            return
        else:
            raise ValueError("no object")


def _member(text: str, at: int, sign: str) -> tuple[str, Any, int] | None:
    """Name and value of the member after `sign`, and where what follows it is; None where the text
    ends before, or is wrong."""
    at = _skip(text, at)
    if not text.startswith(sign, at):
        return None
    at = _skip(text, at + 1)
    try:
        if not text.startswith('"', at):
            return None
        name, at = _decode(text, at)
        at = _skip(text, at)
        if not text.startswith(":", at):
            return None
        value, at = _decode(text, _skip(text, at + 1))
    except json.JSONDecodeError:
        return None
    at = _skip(text, at)
    # Where a file was cut, "1" may be the beginning of "1.5".
    return (name, value, at) if text.startswith((",", "}"), at) else None


def _skip(text: str, at: int) -> int:
    found = _after_space(text, at)
    return found.end() if found else at


def _is_end(text: str, at: int) -> bool:
    return text.startswith("}", at) and _skip(text, at + 1) == len(text)
