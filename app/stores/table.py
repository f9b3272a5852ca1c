"""A whole table of frontends as text, TOML or JSON: the file store's and the export's form. Pure.

["www.example.com"]
id = "mywebsite"
backends = ["http://192.168.0.42:80", "http://192.168.0.43:80"]
options = { policy = "round_robin" }
healthcheck = { path = "/health", status = 200 }
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from ..errors import BadHost, HipacheError
from ..routing import (
    MAX_WILDCARD_LABELS,
    NO_OPTIONS,
    InvalidBackendURL,
    normalise_host,
    parse_backend,
)
from .wire_names import wire_name

HEALTHCHECK_FIELDS = ("path", "status", "body")
"""Fields of `healthcheck:<host>`, as planb and tsuru write them."""


class TableError(HipacheError):
    """A table, or a change to one, that cannot be used; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one key of a store holds."""

    identifier: str
    backends: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=lambda: NO_OPTIONS)
    healthcheck: Mapping[str, str] = field(default_factory=lambda: NO_OPTIONS)
    """What active checks ask: `path`, `status`, `body`."""
    ttl: int | None = None
    """Seconds until it disappears; only Redis knows that."""

    @property
    def rows(self) -> list[str]:
        """Hipache's list: the identifier, then the backends."""
        return [self.identifier, *self.backends]


Table = dict[str, Entry]


def check_key(key: str) -> str:
    """A frontend's key in the form in which it is looked up.

    >>> check_key("*.Example.COM.")
    '*.example.com'

    Raises TableError where no request could ever match it.
    """
    if key == "*":
        return key
    wildcard, host = key.startswith("*."), key.removeprefix("*.")
    try:
        name = normalise_host(host.encode("latin-1", "replace"))
    except BadHost:
        hint = f"; in a request it is {wire_name(key)!r}" if wire_name(key) else ""
        raise TableError(f"{key!r} is no host, no *.domain and not *{hint}") from None
    if ":" in host and not host.startswith("["):
        raise TableError(f"{key!r}: the key is the host without its port: {name!r}")
    if not wildcard:
        return name
    if name.startswith("["):
        raise TableError(f"{key!r}: an address has no wildcard")
    if name.count(".") >= MAX_WILDCARD_LABELS:
        raise TableError(
            f"{key!r} never matches: a wildcard has at most {MAX_WILDCARD_LABELS} labels"
        )
    return f"*.{name}"


def check_entry(key: str, entry: Entry) -> None:
    """Raise TableError where a backend is no URL or stands twice in the list."""
    seen: dict[tuple[str, str, int], str] = {}
    for url in entry.backends:
        try:
            origin = parse_backend(url, 0).origin
        except InvalidBackendURL as exc:
            raise TableError(f"{key}: backend {exc}") from None
        if origin in seen:
            raise TableError(f"{key}: backend {url!r} is there twice")
        seen[origin] = url


def parse_table(text: str, source: str) -> Table:
    """The table of a file, JSON if `source` ends in .json, else TOML.

    Raises TableError with file, line and reason. All or nothing.
    """
    try:
        raw = json.loads(text) if source.endswith(".json") else tomllib.loads(text)
    except json.JSONDecodeError as exc:
        raise TableError(f"{source} line {exc.lineno}: {exc.msg}") from None
    except tomllib.TOMLDecodeError as exc:
        # "... (at line 3, column 7)" or "... (at end of document)"
        reason, _, where = str(exc).partition(" (at ")
        numbers = re.findall(r"[0-9]+", where) or [str(text.count("\n") + 1)]
        raise TableError(f"{source} line {numbers[0]}: {reason}") from None
    if not isinstance(raw, dict):
        raise TableError(f"{source} line 1: expected an object of hosts")
    table: Table = {}
    for name, value in raw.items():
        try:
            key = check_key(name)
            if key in table:
                raise TableError(f"{key} is there twice")
            table[key] = _entry(name, value)
            check_entry(key, table[key])
        except TableError as exc:
            line = _line_of(text, name, str(exc))
            raise TableError(f"{source} line {line}: {exc}") from None
    return table


def _entry(name: str, value: Any) -> Entry:
    if not isinstance(value, dict):
        raise TableError(f'{name}: expected a table: ["{name}"]')
    known = ("id", "backends", "options", "healthcheck", "ttl")
    unknown = [key for key in value if key not in known]
    if unknown and isinstance(value[unknown[0]], dict):
        raise TableError(f'quote the host: ["{name}.{unknown[0]}..."]')
    if unknown:
        raise TableError(f"{name}: unknown key {unknown[0]!r}; expected {', '.join(known[:-1])}")
    identifier, backends = value.get("id", name), value.get("backends", [])
    ttl = value.get("ttl")
    if not isinstance(identifier, str):
        raise TableError(f"{name}: id: expected a text, found {identifier!r}")
    if not isinstance(backends, list) or not all(isinstance(url, str) for url in backends):
        raise TableError(f"{name}: backends: expected a list of URLs, found {backends!r}")
    if ttl is not None and (type(ttl) is not int or ttl <= 0):
        raise TableError(f"{name}: ttl: expected seconds, found {ttl!r}")
    options, healthcheck = _settings(name, value, "options"), _settings(name, value, "healthcheck")
    unknown = [key for key in healthcheck if key not in HEALTHCHECK_FIELDS]
    if unknown:
        raise TableError(
            f"{name}: healthcheck: unknown key {unknown[0]!r}; expected {HEALTHCHECK_FIELDS}"
        )
    return Entry(identifier, tuple(backends), options, healthcheck, ttl)


def _settings(name: str, value: dict[str, Any], kind: str) -> Mapping[str, str]:
    settings = value.get(kind, {})
    if not isinstance(settings, dict):
        raise TableError(f"{name}: {kind}: expected a table, found {settings!r}")
    return MappingProxyType(
        {key: _setting(f"{name}: {kind}.{key}", setting) for key, setting in settings.items()}
    )


def _setting(where: str, setting: Any) -> str:
    if isinstance(setting, bool):
        return "true" if setting else "false"
    if isinstance(setting, str | int | float):
        return str(setting)
    raise TableError(f"{where}: expected a text or a number, found {setting!r}")


def _line_of(text: str, name: str, reason: str) -> int:
    """The line that a complaint is about: the quoted value if it is in the file, else the key."""
    start = max(_find(text, name, 0), 0)
    value = re.search(r"'([^']*)'", reason)
    there = _find(text, value.group(1), start) if value else -1
    return text.count("\n", 0, max(start, there)) + 1


def _find(text: str, word: str, start: int) -> int:
    quoted = text.find(f'"{word}"', start)
    return quoted if quoted >= 0 else text.find(word, start)


def dump_table(table: Mapping[str, Entry]) -> str:
    """The table as JSON that `parse_table` reads, keys in order."""
    return json.dumps({key: in_file_form(table[key]) for key in sorted(table)}, indent=2) + "\n"


def in_file_form(entry: Entry) -> dict[str, Any]:
    """One entry in the form of the file; what is empty is left out."""
    value: dict[str, Any] = {"id": entry.identifier, "backends": list(entry.backends)}
    if entry.options:
        value["options"] = dict(entry.options)
    if entry.healthcheck:
        value["healthcheck"] = dict(entry.healthcheck)
    if entry.ttl is not None:
        value["ttl"] = entry.ttl
    return value


def by_domain(key: str) -> list[str]:
    """To sort keys so that hosts of one domain stand together."""
    return key.split(".")[::-1]


def same_tables(one: Mapping[str, Entry], other: Mapping[str, Entry]) -> bool:
    """Do both hold the same, whatever time is left?"""
    return _timeless(one) == _timeless(other)


def _timeless(table: Mapping[str, Entry]) -> dict[str, Entry]:
    return {key: replace(entry, ttl=None) for key, entry in table.items()}


def without_secrets(options: Mapping[str, str]) -> dict[str, str]:
    """The options as a person may see them over somebody's shoulder: users without hashes."""
    return {name: re.sub(r":\$\S*", ":***", value) for name, value in options.items()}


def difference(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> Iterator[str]:
    """What becomes of each frontend that does not stay as it is, a line each."""
    for key in sorted(before.keys() | after.keys(), key=by_domain):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if old is None or new is None:
            sign, entry = ("+", new) if old is None else ("-", old)
            yield f"{sign} {key}  {' '.join(entry.rows if entry else ())}"
        else:
            yield f"~ {key}  {_changed(old, new)}"


def _changed(old: Entry, new: Entry) -> str:
    parts = [f"-{url}" for url in old.backends if url not in new.backends]
    parts += [f"+{url}" for url in new.backends if url not in old.backends]
    if old.identifier != new.identifier:
        parts.append(f"id {old.identifier} -> {new.identifier}")
    if old.options != new.options:
        parts.append(f"options {without_secrets(old.options)} -> {without_secrets(new.options)}")
    if old.healthcheck != new.healthcheck:
        parts.append(f"healthcheck {dict(old.healthcheck)} -> {dict(new.healthcheck)}")
    if old.ttl != new.ttl:
        parts.append(f"ttl {old.ttl} -> {new.ttl}")
    return " ".join(parts) or "the order of its backends"
