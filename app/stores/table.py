"""A table of frontends, and the form of each in a file, TOML or JSON. Pure.

["www.example.com"]
backends = ["http://192.168.0.42:80", "http://192.168.0.43:80"]
options = { policy = "round_robin" }
healthcheck = { path = "/health", status = 200 }

["www.example.com/api"]
backends = ["http://192.168.0.44:80"]
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from ..errors import HipacheError
from ..frontends.site import host_of, prefix_of
from ..routing import NO_OPTIONS, InvalidBackendURL, parse_backend
from .key_form import looked_up_as

HEALTHCHECK_FIELDS = ("path", "status", "body", "grpc")
"""Fields of `healthcheck:<host>`: the first three as planb and tsuru write them."""


LAST_USED = "last_used"
"""A key beside those of an entry in what `hipache route show --json` prints: nothing to import."""
MAX_TTL = 10 * 365 * 86_400


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
    listed: bool = True
    """False for a host that has no list, but options that its prefixes inherit."""
    below: int = field(default=0, compare=False)
    """Prefixes of this host, as far as the table that was read knows."""
    named: bool = True
    """False for a prefix that the set of its host lacks, so that no request finds it."""

    @property
    def rows(self) -> list[str]:
        """Hipache's list: the identifier, then the backends; empty where there is no list."""
        return [self.identifier, *self.backends] if self.listed else []

    @property
    def says_something(self) -> bool:
        """Whether anything of it stands in the store."""
        return self.listed or bool(self.options)

    def without_list(self) -> Entry | None:
        """What stays when the list is removed: options, as long as prefixes inherit them."""
        if not self.below or not self.options:
            return None
        return Entry("", options=self.options, listed=False, below=self.below)


Table = dict[str, Entry]


def existing(table: Mapping[str, Entry], key: str) -> Entry | None:
    """The frontend; None for a host that only has prefixes, too."""
    entry = table.get(key)
    return entry if entry is not None and entry.says_something else None


def check_key(key: str) -> str:
    """A frontend's key in the form in which it is looked up.

    >>> check_key("*.Example.COM."), check_key("Example.com/api/")
    ('*.example.com', 'example.com/api')

    Raises TableError where no request could ever match it.
    """
    try:
        return looked_up_as(key)
    except ValueError as exc:
        raise TableError(str(exc)) from None


def check_entry(key: str, entry: Entry) -> None:
    """Raise TableError where a backend is no URL or stands twice, or the expiry is too far."""
    if entry.ttl is not None and entry.ttl > MAX_TTL:
        raise TableError(f"{key}: ttl: expected at most {MAX_TTL} seconds")
    seen: dict[tuple[str, str, int], str] = {}
    for url in entry.backends:
        try:
            origin = parse_backend(url, 0).origin
        except InvalidBackendURL as exc:
            raise TableError(f"{key}: backend {exc}") from None
        if origin in seen:
            raise TableError(f"{key}: backend {url!r} is there twice")
        seen[origin] = url


def entry_of(name: str, value: Any) -> Entry:
    """What the file says of one frontend. Raises TableError."""
    if not isinstance(value, dict):
        raise TableError(f'{name}: expected a table: ["{name}"]')
    known = ("id", "backends", "options", "healthcheck", "ttl")
    unknown = [key for key in value if key not in known and key != LAST_USED]
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
    if not value.keys() & {"id", "backends", "ttl", "healthcheck"} and not prefix_of(name):
        return Entry(name, options=options, listed=False)
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


def dump_entries(table: Mapping[str, Entry]) -> str:
    """Some frontends of a table as JSON, for `{` and what came before with a comma to precede, and
    `}` to follow: `parse_table` reads that."""
    return json.dumps({key: in_file_form(entry) for key, entry in table.items()}, indent=2)[2:-2]


def in_file_form(entry: Entry) -> dict[str, Any]:
    """One entry in the form of the file; what is empty is left out."""
    value: dict[str, Any] = {}
    if entry.listed:
        value = {"id": entry.identifier, "backends": list(entry.backends)}
    if entry.options:
        value["options"] = dict(entry.options)
    if entry.healthcheck:
        value["healthcheck"] = dict(entry.healthcheck)
    if entry.ttl is not None:
        value["ttl"] = entry.ttl
    return value


def by_domain(key: str) -> tuple[list[str], str]:
    """To sort keys so that hosts of one domain stand together, prefixes below their host."""
    return host_of(key).split(".")[::-1], prefix_of(key)


def same_tables(one: Mapping[str, Entry], other: Mapping[str, Entry]) -> bool:
    """Do both hold the same, whatever time is left?"""
    return _timeless(one) == _timeless(other)


def _timeless(table: Mapping[str, Entry]) -> dict[str, Entry]:
    return {key: replace(entry, ttl=None) for key, entry in table.items()}


def without_secrets(options: Mapping[str, str]) -> dict[str, str]:
    """The options as a person may see them over somebody's shoulder: users without hashes."""
    return {name: re.sub(r":\$\S*", ":***", value) for name, value in options.items()}
