"""The table of a large file, on the disk and in order: little of it is in memory at a time."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any

from .json_members import read_members
from .sorted_keys import SortedKeys, in_pieces
from .table import Entry, TableError, check_entry, check_key, entry_of
from .table_text import members, parse_table

ENTRIES_AT_ONCE = 1_000
"""Frontends between two looks whether there are too many in memory."""


def order_of(key: str) -> str:
    """What keys are sorted by: a host's prefixes come right after it, and before other hosts.

    >>> sorted(["a.test-b", "a.test/api", "a.test"], key=order_of)
    ['a.test', 'a.test/api', 'a.test-b']
    """
    return key.replace("/", "\x01")


class SpooledTable:
    """What one file says of its frontends. A context manager.

    Raises TableError as parse_table does, and OSError where there is no room for temporary files.
    """

    def __init__(self, file: Path) -> None:
        self._file = self._source = file
        self._copy = ExitStack()
        self._lines = SortedKeys()

    def __enter__(self) -> SpooledTable:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._copy.close()
        self._lines.__exit__(kind, error, trace)

    @property
    def count(self) -> int:
        """Frontends."""
        return self._lines.count

    def read(self) -> None:
        """Read the file: JSON if its name ends in .json, else TOML, which is read as a whole."""
        number = 0
        if not self._file.is_file():
            self._copy_pipe()
        try:
            for some in in_pieces(self._said(), ENTRIES_AT_ONCE):
                self._lines.add(
                    _line(name, value, number + n) for n, (name, value) in enumerate(some)
                )
                number += len(some)
        except (ValueError, TableError) as exc:
            self._refuse(exc)
        except RecursionError:
            raise TableError(f"{self._file}: nested too deeply") from None

    def _copy_pipe(self) -> None:
        """A pipe can be read only once, and what is wrong with a text is found in a second look."""
        copy = self._copy.enter_context(tempfile.NamedTemporaryFile())  # noqa: SIM115
        with self._file.open("rb") as pipe:
            shutil.copyfileobj(pipe, copy)
        copy.flush()
        self._source = Path(copy.name)

    def _said(self) -> Iterator[tuple[str, Any]]:
        with self._source.open(encoding="utf-8") as file:
            if self._file.suffix == ".json":
                yield from read_members(file)
            else:
                yield from members(file.read(), str(self._file))

    def _refuse(self, error: Exception) -> None:
        """Say in which line it is; for that the text is needed."""
        data = self._source.read_bytes()
        try:
            text = data.decode()
        except UnicodeDecodeError as exc:
            line = data.count(b"\n", 0, exc.start) + 1
            raise TableError(f"{self._file} line {line}: no UTF-8: {exc.reason}") from None
        parse_table(text, str(self._file))
        raise error

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        """In the order of `order_of`."""
        waiting: tuple[str, Entry] | None = None
        for key, found in self._found():
            if waiting is not None:
                yield waiting[0], _with_list(*waiting, following=key)
            waiting = key, found
        if waiting is not None:
            yield waiting[0], _with_list(*waiting, following="")

    def _found(self) -> Iterator[tuple[str, Entry]]:
        for order, lines in groupby(self._lines, lambda line: line.partition("\0")[0]):
            key, names = order.replace("\x01", "/"), set[str]()
            for line in lines:
                name, *said = json.loads(line.split("\0")[2])
                names.add(name)
            if len(names) > 1:
                self._refuse(TableError(f"{self._file}: {key} is there twice"))
            identifier, backends, options, healthcheck, ttl, listed = said
            yield key, Entry(identifier, tuple(backends), options, healthcheck, ttl, listed)


def _line(name: str, value: Any, number: int) -> str:
    """Sorted by the key, and lines of one name by their place in the file: the last one counts."""
    key, entry = check_key(name), entry_of(name, value)
    check_entry(key, entry)
    settings = dict(entry.options), dict(entry.healthcheck)
    said = name, entry.identifier, entry.backends, *settings, entry.ttl, entry.listed
    return f"{order_of(key)}\0{number:09d}\0{json.dumps(said)}"


def _with_list(key: str, entry: Entry, following: str) -> Entry:
    """As table_text says: only a host that has prefixes can be there without a list."""
    if entry.listed or following.startswith(f"{key}/"):
        return entry if entry.listed else replace(entry, identifier="")
    return replace(entry, listed=True)
