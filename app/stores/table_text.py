"""From the text of a file, TOML or JSON, to a table of frontends. Pure."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from typing import Any

from ..frontends.site import host_of
from ..system.turns import run_at_once
from .json_members import json_members
from .line_numbers import line_of
from .table import Table, TableError, check_entry, check_key, entry_of


def parse_table(text: str, source: str) -> Table:
    """The table of a file, JSON if `source` ends in .json, else TOML.

    Raises TableError with file, line and reason. All or nothing.
    """
    return run_at_once(parsing(text, source, members(text, source)))


def members(text: str, source: str) -> Iterator[tuple[str, Any]]:
    """What a file says of each frontend. Raises TableError where it is no JSON or TOML."""
    try:
        if source.endswith(".json"):
            yield from json_members(text)
        else:
            yield from tomllib.loads(text).items()
    except json.JSONDecodeError as exc:
        raise TableError(f"{source} line {exc.lineno}: {exc.msg}") from None
    except tomllib.TOMLDecodeError as exc:
        # "... (at line 3, column 7)" or "... (at end of document)"
        reason, _, where = str(exc).partition(" (at ")
        numbers = re.findall(r"[0-9]+", where) or [str(text.count("\n") + 1)]
        raise TableError(f"{source} line {numbers[0]}: {reason}") from None
    except RecursionError:  # TOML says not where
        raise TableError(f"{source}: nested too deeply") from None
    except ValueError:
        raise TableError(f"{source} line 1: expected an object of hosts") from None


def parsing(
    text: str, source: str, said: Iterable[tuple[str, Any]]
) -> Generator[None, None, Table]:
    """The steps of `parse_table`, one for each frontend that was `said`."""
    table: Table = {}
    names: dict[str, str] = {}
    for name, value in said:
        try:
            key = check_key(name)
            # In JSON a name may stand there twice, and the last one counts.
            if key in table and names.get(key, key) != name:
                raise TableError(f"{key} is there twice")
            if key != name:
                names[key] = name
            table[key] = entry_of(name, value)
            check_entry(key, table[key])
        except TableError as exc:
            line = line_of(text, name, str(exc))
            raise TableError(f"{source} line {line}: {exc}") from None
        yield
    return _with_lists(table)


def _with_lists(table: Table) -> Table:
    """Only a host that has prefixes can be there without a list."""
    hosts = {host_of(key) for key in table if "/" in key}
    for key, entry in table.items():
        if not entry.listed:
            there = key not in hosts
            table[key] = replace(entry, identifier=entry.identifier * there, listed=there)
    return table
