"""Hosts and their prefixes in a table. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ..frontends.site import host_of, prefix_of
from .table import Entry, Table

Prefixes = dict[str, frozenset[str]]


def of_keys(table: Table, keys: Collection[str], prefixes: Prefixes) -> Table:
    """The entries of these keys, and of those that have prefixes only. `prefixes`: those by host
    of the whole table."""
    found = {key: table[key] for key in keys if key in table}
    found |= {key: Entry("", listed=False) for key in keys if key in prefixes and key not in table}
    return {key: replace(e, below=len(prefixes.get(key, ()))) for key, e in found.items()}


def with_sites_only(table: Table) -> Table:
    """Without hosts that have neither a list nor prefixes that inherit their options."""
    hosts = prefixes_by_host(table)
    return {
        key: entry
        for key, entry in table.items()
        if entry.listed or (entry.options and key in hosts)
    }


def serving_keys(hosts: Sequence[str], key: str) -> list[str]:
    """All keys that may serve `key`, a host with or without a path; `hosts` are its lookup keys."""
    cuts = _cuts(prefix_of(key))
    return [host + cut for host in hosts for cut in cuts]


def serving(found: Mapping[str, Entry], hosts: Sequence[str], key: str) -> str | None:
    """The one of them that does, as the proxy chooses: first the host, then the longest prefix."""
    for host in hosts:
        if host in found or any(host + cut in found for cut in _cuts(prefix_of(key))):
            keys = (host + cut for cut in _cuts(prefix_of(key)))
            return next((each for each in keys if each in found and found[each].listed), None)
    return None


def _cuts(path: str) -> list[str]:
    """A path cut at each slash, longest first.

    >>> _cuts("/api/v2")
    ['/api/v2', '/api', '']
    """
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]


def prefixes_by_host(table: Mapping[str, Entry]) -> Prefixes:
    """The prefixes that have lists, by the key of their host; hosts without any are left out."""
    found: dict[str, set[str]] = {}
    for key in table:
        if "/" in key:  # at once, as most have none
            found.setdefault(host_of(key), set()).add(prefix_of(key))
    return {host: frozenset(prefixes) for host, prefixes in found.items()}
