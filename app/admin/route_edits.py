"""What a request to `/api/routes` asks for: conditions, bodies and edits. Pure.

Tags and conditions: RFC 9110 §8.8.3 and §13.1; merge patches: RFC 7396.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import HipacheError
from ..frontends.backends import trimmed
from ..stores.meant import Objection, check_change
from ..stores.table import Entry, Table, entry_of, existing, in_file_form

FIELDS = ("id", "backends", "options", "healthcheck", "ttl")
_TAG = re.compile(r'(W/)?"[!#-~\x80-\xff]*"')


class RouteRefusal(HipacheError):
    """A request that is not carried out; the text says why."""

    def __init__(self, status: int, where: str, text: str) -> None:
        """`where` is the part of the request that is wrong, as in `body` or `header If-Match`."""
        super().__init__(text)
        self.status, self.where = status, where


def etag(entry: Entry) -> str:
    """The tag of a frontend as it is. The time until it disappears does not count."""
    form = in_file_form(replace(entry, ttl=None))
    text = json.dumps(form, sort_keys=True, separators=(",", ":"))
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def parse_body(body: bytes) -> dict[str, Any]:
    """The object in a body. Raises RouteRefusal."""
    try:
        found = json.loads(body, object_pairs_hook=_once_each, parse_constant=_no_number)
        json.dumps(found, ensure_ascii=False).encode()  # refuses half a surrogate pair
    except UnicodeError:
        raise RouteRefusal(400, "body", "expected UTF-8") from None
    except json.JSONDecodeError as exc:
        raise RouteRefusal(400, "body", f"line {exc.lineno}: {exc.msg}") from None
    except (ValueError, RecursionError) as exc:
        raise RouteRefusal(400, "body", str(exc)) from None
    if not isinstance(found, dict):
        raise RouteRefusal(422, "body", f"expected an object of {', '.join(FIELDS)}")
    return found


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is there twice")
        found[name] = value
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


@dataclass(frozen=True, slots=True)
class Condition:
    """`If-Match` and `If-None-Match` of a request."""

    match: str | None = None
    none_match: str | None = None

    def check(self, entry: Entry | None) -> None:
        """Raise RouteRefusal (412) unless the frontend is as the client expects it."""
        if self.match is not None and not _names(self.match, entry, weak=False):
            now = "it does not exist" if entry is None else f"it is {etag(entry)} now"
            raise RouteRefusal(412, "header If-Match", f"the frontend has changed: {now}")
        if self.none_match is not None and self.is_known(entry):
            raise RouteRefusal(412, "header If-None-Match", "the frontend exists")

    def is_known(self, entry: Entry | None) -> bool:
        """Whether the client says that it has this one already."""
        return self.none_match is not None and _names(self.none_match, entry, weak=True)


def _names(header: str, entry: Entry | None, *, weak: bool) -> bool:
    if entry is None:
        return False
    if header.strip() == "*":
        return True
    tags = [found[0] for found in _TAG.finditer(header)]
    return etag(entry) in [tag.removeprefix("W/") if weak else tag for tag in tags]


@dataclass(slots=True)
class RouteEdit:
    """One change of one frontend, made once its condition holds, and validated."""

    key: str
    change: Callable[[str, Entry | None], Entry | None]
    condition: Condition
    objection: Objection
    before: Entry | None = field(default=None, init=False)
    after: Entry | None = field(default=None, init=False)

    def __call__(self, table: Table) -> Table:
        """For `RouteTable.change`. Raises RouteRefusal, TableError."""
        there = table.get(self.key)
        self.before = existing(table, self.key)
        self.condition.check(self.before)
        self.after = after = self.change(self.key, there)
        if after is None:
            return {}
        check_change(self.key, after, there, self.objection)
        return {self.key: after}


def replacing(body: dict[str, Any]) -> Callable[[str, Entry | None], Entry]:
    """`PUT`: the frontend becomes what the body says."""

    def change(key: str, there: Entry | None) -> Entry:
        return _entry(key, body, below=0 if there is None else there.below)

    return change


def merging(body: dict[str, Any]) -> Callable[[str, Entry | None], Entry]:
    """`PATCH`: only what the body names changes, and null removes."""

    def change(key: str, there: Entry | None) -> Entry:
        if there is None or not there.says_something:
            raise RouteRefusal(404, "path", f"no frontend {key}; PUT creates one")
        return _entry(key, merged(in_file_form(there), body), below=there.below)

    return change


def removing(key: str, there: Entry | None) -> Entry | None:
    """`DELETE`: what `hipache route remove` does; then options that prefixes inherit."""
    if there is None or not there.says_something:
        raise RouteRefusal(404, "path", f"no frontend {key}")
    return there.without_list() if there.listed else None


def merged(old: dict[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """`old` with a merge patch.

    >>> merged({"a": 1, "b": {"c": 2, "d": 3}}, {"a": None, "b": {"c": 4}})
    {'b': {'c': 4, 'd': 3}}
    """
    new = dict(old)
    for name, value in patch.items():
        if value is None:
            new.pop(name, None)
        elif isinstance(value, dict):
            inner = new.get(name)
            new[name] = merged(inner if isinstance(inner, dict) else {}, value)
        else:
            new[name] = value
    return new


def _entry(key: str, form: dict[str, Any], *, below: int) -> Entry:
    if unknown := [name for name in form if name not in FIELDS]:
        raise RouteRefusal(
            422, "body", f"{key}: unknown key {unknown[0]!r}; expected {', '.join(FIELDS)}"
        )
    entry = replace(entry_of(key, form), below=below)
    if "backends" not in form and (entry.listed or not (below and entry.options)):
        raise RouteRefusal(422, "body", f"{key}: backends: expected a list of URLs")
    return replace(entry, backends=tuple(map(trimmed, entry.backends)))
