"""The commands' side of the file store: edits that leave comments and order as they are."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from pathlib import Path

import tomlkit

from ...errors import StoreUnavailable
from ...system.file_stamp import Stamp, stamp_of
from ...system.operator import operator
from ..journal import RouteChange, changes_of, dump_change, newest
from ..key_pattern import KeyPattern
from ..table import Entry, Table, TableError, check_key, in_file_form
from ..table_sites import Prefixes, of_keys, prefixes_by_host, with_sites_only
from ..table_text import parse_table
from ..uses import LastUses
from .journal_file import append, lines_of
from .presence import wait_for_all
from .uses import read_file_uses


class FileTable:
    """One file, TOML or JSON by its name. A file that is not there is an empty table."""

    rows_at_once: int | None = None

    def __init__(self, path: str) -> None:
        """A symbolic link is followed: the file that it names is replaced."""
        self._named = Path(path).absolute()
        self._path = self._named.resolve()
        self._journal = self._path.with_name(f"{self._path.name}.journal")
        self.by = operator()
        self._stamp: Stamp = None
        self._known: tuple[Table, Prefixes] = {}, {}

    async def read(self, keys: Collection[str] | None = None) -> Table:
        """The frontends of these keys that exist; of all keys without `keys`."""
        table, prefixes = await asyncio.to_thread(self._parsed)
        return of_keys(table, table if keys is None else keys, prefixes)

    def _parsed(self) -> tuple[Table, Prefixes]:
        """The file's table and its prefixes, by host. They are kept until the file changes: a large
        table is read in many pieces."""
        stamp = stamp_of(self._path)
        if stamp is None or stamp != self._stamp:
            table = self._parse(self._text())
            self._known = table, prefixes_by_host(table)
            self._stamp = stamp
        return self._known

    async def scan(self, cursor: int, matching: KeyPattern) -> tuple[int, list[str]]:
        """All at once: the file must be read whole."""
        wanted = matching.regex().fullmatch
        return 0, await asyncio.to_thread(lambda: [*filter(wanted, self._parsed()[0])])

    async def change(self, keys: Collection[str], edit: Callable[[Table], Table]) -> None:
        """Replace the frontends of `keys`: the new file is renamed over the old one."""
        await asyncio.to_thread(self._change, set(keys), edit)

    def _change(self, keys: set[str], edit: Callable[[Table], Table]) -> None:
        try:
            lock = open(self._path.with_name(f".{self._path.name}.lock"), "a")  # noqa: SIM115
        except OSError as exc:
            raise StoreUnavailable(f"file:{self._path}: {exc}") from exc
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            old = self._text()
            before = self._parse(old)
            after = edit(of_keys(before, keys, prefixes_by_host(before)))
            for key, entry in after.items():
                if entry.ttl is not None:
                    raise TableError(f"{key}: a file knows no expiry; routes in Redis do")
            wanted = {key: entry for key, entry in before.items() if key not in keys}
            wanted = with_sites_only(wanted | after)
            new = self._rewritten(old, before, wanted)
            if self._parse(new) != wanted:
                raise TableError(f"{self._path} is written in a way that cannot be edited here")
            self._replace(new)
            self._note(changes_of(before, wanted, keys, by=self.by, at=time.time()))

    def _rewritten(self, old: str, before: Table, wanted: Table) -> str:
        if self._path.suffix == ".json":
            table = {key: in_file_form(entry) for key, entry in wanted.items()}
            return json.dumps(table, indent=2) + "\n"
        document = tomlkit.parse(old)
        names = {check_key(name): name for name in document}
        for key in before.keys() - wanted.keys():
            del document[names[key]]
        for key, entry in wanted.items():
            if entry != before.get(key):
                _put(document, names.get(key, key), entry)
        text = tomlkit.dumps(document)
        return text if text.strip() else "# no routes\n"

    def _text(self) -> str:
        try:
            return self._path.read_text("utf-8")
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as exc:
            raise StoreUnavailable(f"file:{self._path}: {exc}") from exc

    def _parse(self, text: str) -> Table:
        return parse_table(text, str(self._path)) if text.strip() else {}

    def _replace(self, text: str) -> None:
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.new")
        try:
            temporary.write_text(text, "utf-8")
            with contextlib.suppress(FileNotFoundError):
                shutil.copymode(self._path, temporary)
            temporary.replace(self._path)
        except OSError as exc:
            temporary.unlink(missing_ok=True)
            raise StoreUnavailable(f"file:{self._path}: {exc}") from exc

    def _note(self, changes: Iterable[RouteChange]) -> None:
        """Write to the journal, which may be read by those who may read the table."""
        lines = [dump_change(change) for change in changes]
        try:
            append(self._journal, lines, like=self._path)
        except OSError as exc:
            raise StoreUnavailable(f"changed, but not in the journal: {exc}") from exc

    async def journal(self, key: str | None, most: int) -> list[RouteChange]:
        """The last changes of this key, and of its prefixes."""
        try:
            lines = await asyncio.to_thread(lines_of, self._journal)
        except OSError as exc:
            raise StoreUnavailable(str(exc)) from exc
        return list(islice(newest(reversed(lines), key), most))

    async def last_uses(self) -> LastUses:
        """On this machine."""
        return await asyncio.to_thread(read_file_uses, self._named)

    async def wait(self, seconds: float) -> tuple[int, list[str]]:
        """Wait for all workers on this machine that serve from this path."""
        return await wait_for_all(self._named, seconds)

    async def aclose(self) -> None:
        """Nothing to release."""


def _put(document: tomlkit.TOMLDocument, name: str, entry: Entry) -> None:
    """Set what differs, so that comments inside the table stay."""
    if name not in document:
        document[name] = tomlkit.table()
    table = document[name]
    assert isinstance(table, dict)
    form = in_file_form(entry)
    for field, value in form.items():
        if table.get(field) != value:
            table[field] = value
    for field in ("id", "backends", "options", "healthcheck"):
        if field not in form:
            table.pop(field, None)
