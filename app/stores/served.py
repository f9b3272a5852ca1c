"""What a table comes to for requests: each key's list, with what it inherits. Pure."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import NamedTuple

from ..frontends.site import host_of, inherited
from ..system.turns import run_at_once
from .table import Entry, Table
from .table_sites import prefixes_by_host

_NO_ENTRY = Entry("", listed=False)


class Parts(NamedTuple):
    """The arguments of `routing.parse_frontend` behind the key. Equal parts serve alike."""

    rows: tuple[str, ...]
    options: Mapping[str, str]
    prefixes: frozenset[str] = frozenset()


def served_by(table: Table) -> dict[str, Parts]:
    """By key: the entries, and the hosts that have prefixes and no entry."""
    return run_at_once(serving(table))


def serving(table: Table) -> Generator[None, None, dict[str, Parts]]:
    """The steps of `served_by`, one for each key."""
    prefixes = prefixes_by_host(table)
    found: dict[str, Parts] = {}
    for key in (*table, *(host for host in prefixes if host not in table)):
        entry = table.get(key, _NO_ENTRY)
        options, host = dict(entry.options), host_of(key)
        if host != key and host in table:
            options = dict(inherited(options, table[host].options, entry.backends))
        found[key] = Parts(tuple(entry.rows), options, prefixes.get(key, frozenset()))
        yield
    return found
