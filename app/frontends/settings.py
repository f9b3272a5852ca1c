"""What a frontend says of itself in `options:<host>`, parsed and joined with its list. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from ..masking import masked_url
from .backends import trimmed
from .option_names import UNREADABLE, beyond_bounds, is_guards, meant_by, no_option
from .options import (
    MAX_HSTS,
    MAX_SLOW_START,
    MAX_WAKE,
    MAX_WEIGHT,
    NO_OPTIONS,
    Options,
    number_up_to,
    parse_hash_key,
    parse_policy,
    parse_sticky,
    parse_switch,
    parse_wake,
)
from .protection import parse_protection

MAX_COMPARED_URLS = 1000
"""URLs of a list among which the nearest is looked for."""
MAX_GUESSES = 5
"""Unmatched URLs for which the nearest is looked for: each costs as much as a hundred requests."""

_Field = tuple[str, Callable[[str], Any]]
"""The attribute of Options, and how a value of the hash is parsed."""

_OF_ALL: Mapping[str, _Field] = {
    "policy": ("policy", parse_policy),
    "hash": ("hash_key", parse_hash_key),
    "sticky": ("sticky", parse_sticky),
    "slowStart": ("slow_start", number_up_to(MAX_SLOW_START)),
    "panic": ("panic", parse_switch),
    "redirect": ("redirect", parse_switch),
    "hsts": ("hsts", number_up_to(MAX_HSTS)),
    "acme": ("acme", parse_switch),
    "strip": ("strip", parse_switch),
    "http2": ("http2", parse_switch),
    "wake": ("wake", parse_wake),
    "wakeTimeout": ("wake_timeout", number_up_to(MAX_WAKE)),
}
_OF_ONE: Mapping[str, _Field] = {
    "weight": ("weights", number_up_to(MAX_WEIGHT)),
    "drain": ("drained", parse_switch),
    "backup": ("backups", parse_switch),
}


@dataclass(frozen=True, slots=True, eq=False)
class Settings:
    """What a frontend says of itself, parsed once. The defaults fill in the rest."""

    raw: Mapping[str, str]
    """The hash as the store has it."""
    values: Mapping[str, Any]
    """By attribute of Options; only those that the hash sets."""
    problems: tuple[str, ...] = ()
    """One sentence for every field that cannot be used."""
    named: Mapping[str, str] = field(default_factory=lambda: NO_OPTIONS)
    """The URL of every field for one backend that can be used, by the field's name."""
    unmatched: Mapping[str, str] = field(default_factory=lambda: NO_OPTIONS)
    """Those of them whose URL is not in the list: a sentence, by the field's name."""

    def over(self, defaults: Options) -> Options:
        """What holds for this frontend, if `defaults` hold for all.

        >>> settings_of({"panic": "off"}).over(Options(sticky="sid")).sticky
        'sid'
        """
        return replace(defaults, **self.values)

    def for_list(self, urls: Collection[str]) -> Settings:
        """The same for a list of these URLs: fields for one backend name them as they stand there.

        White space around a URL makes no difference. A field whose URL is not in the list is a
        problem: a typing mistake must not let a drained backend serve unnoticed.
        """
        if not self.named:
            return self
        as_written: dict[str, list[str]] = {}
        for url in urls:
            as_written.setdefault(trimmed(url), []).append(url)
        values = dict(self.values)
        for attribute, _ in _OF_ONE.values():
            if isinstance(found := values.get(attribute), frozenset):
                values[attribute] = frozenset(
                    url for name in found for url in as_written.get(trimmed(name), ())
                )
            elif found is not None:
                values[attribute] = {
                    url: number
                    for name, number in found.items()
                    for url in as_written.get(trimmed(name), ())
                }
        unmatched: dict[str, str] = {}
        for name, url in self.named.items():
            if trimmed(url) not in as_written:
                near = _nearest(url, as_written) if len(unmatched) < MAX_GUESSES else ""
                unmatched[name] = f"{masked_url(name)!r} names no backend of the list{near}"
        return replace(
            self, values=MappingProxyType(values), unmatched=unmatched,
            problems=(*self.problems, *unmatched.values()),
        )  # fmt: skip


def _nearest(url: str, known: Collection[str]) -> str:
    near = get_close_matches(trimmed(url), list(known)[:MAX_COMPARED_URLS], n=1)
    return f" (did you mean {masked_url(near[0])}?)" if near else ""


NO_SETTINGS = Settings(NO_OPTIONS, MappingProxyType({}))
"""Of every frontend without options: one object for all of them."""


def settings_of(raw: Mapping[str, str] | None) -> Settings:
    """The hash, parsed. Frontends with equal hashes share one object.

    >>> settings_of({"policy": "fastest"}).problems
    ("policy 'fastest' is none of random, round_robin, least_conn, least_time, hash",)
    """
    if not raw:
        return NO_SETTINGS
    if too_many := beyond_bounds(raw):
        raw = {UNREADABLE: too_many}
    return _parse(tuple(sorted(raw.items())))


@lru_cache(maxsize=1024)
def _parse(fields: tuple[tuple[str, str], ...]) -> Settings:
    raw = MappingProxyType(dict(fields))
    values: dict[str, Any] = {}
    named: dict[str, str] = {}
    protection, told = parse_protection(raw)
    if protection is not None:
        values["protection"] = protection
    problems = list(told)
    for name, value in fields:
        kind, _, url = name.partition(":")
        if is_guards(name):
            continue  # parse_protection has read it
        known = _OF_ONE.get(kind) if url else _OF_ALL.get(name)
        if known is None:
            problems.append(no_option(name, meant_by(kind)))
            continue
        attribute, parse = known
        try:
            parsed = parse(value)
        except ValueError as exc:
            problems.append(f"{name} {exc}")
            continue
        if url:
            values.setdefault(attribute, {})[url] = parsed
            named[name] = url
        else:
            values[attribute] = parsed
    for attribute in {"drained", "backups"} & values.keys():
        values[attribute] = frozenset(url for url, on in values[attribute].items() if on)
    return Settings(raw, MappingProxyType(values), tuple(problems), named)
