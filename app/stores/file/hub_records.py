"""A JupyterHub's routes in a folder.

    routes/<hash>   a route's path, and its members in JSON
    used/<hash>     empty: its time of change says when the route was last in use

Only the user who runs the proxy can read them: folders have mode 0700, files 0600.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path

import msgspec
from watchfiles import awatch

from ...system.file_stamp import Stamp, stamp_of
from ..hub_records import HubRecordListener
from ..unavailable import translated
from .small_files import decoded, text_of, write

LOOK_EVERY_MS = 500
"""Milliseconds after which the folder is looked at even if no event came."""


class HubRecord(msgspec.Struct, frozen=True):
    """What is in a file of `routes/`."""

    name: str
    text: str


class FileHubRecords:
    """hub_records.HubRecords in a folder."""

    def __init__(self, folder: str) -> None:
        """Makes what is missing when something is read or written."""
        self.name = f"folder {folder}"
        self._translated = partial(translated, self.name)
        self._routes, self._uses = Path(folder) / "routes", Path(folder) / "used"
        self._known: dict[str, tuple[Stamp, HubRecord]] = {}
        self._names: dict[str, str] = {}
        """By their files."""

    async def put(self, name: str, text: str, used: float) -> None:
        """A file, replaced as a whole."""
        with self._translated():
            record = msgspec.json.encode(HubRecord(name, text)).decode()
            await asyncio.to_thread(write, self._routes / _file(name), record)
            self._use(_file(name), used)

    async def drop(self, name: str) -> bool:
        """Remove both files."""
        with self._translated():
            (self._uses / _file(name)).unlink(missing_ok=True)
            try:
                (self._routes / _file(name)).unlink()
            except FileNotFoundError:
                return False
        return True

    async def read(self, names: Sequence[str]) -> dict[str, str | None]:
        """One file for each."""
        self._names.update((_file(name), name) for name in names)
        with self._translated():
            found = {
                name: decoded(text_of(self._routes / _file(name)), HubRecord) for name in names
            }
        return {name: None if it is None else it.text for name, it in found.items()}

    async def read_all(self) -> dict[str, str]:
        """The files that have changed since the last time."""
        with self._translated():
            self._known = await asyncio.to_thread(self._read_changed, self._known)
        self._names = {file: record.name for file, (_, record) in self._known.items()}
        return {record.name: record.text for _, record in self._known.values()}

    def _read_changed(
        self, known: Mapping[str, tuple[Stamp, HubRecord]]
    ) -> dict[str, tuple[Stamp, HubRecord]]:
        found: dict[str, tuple[Stamp, HubRecord]] = {}
        for path in self._all(self._routes):
            stamp = stamp_of(path)
            if path.name in known and known[path.name][0] == stamp:
                found[path.name] = known[path.name]
            elif (record := decoded(text_of(path), HubRecord)) is not None:
                found[path.name] = stamp, record
        return found

    async def touch(self, used: Mapping[str, float]) -> None:
        """The later time stays."""
        with self._translated():
            for name, at in used.items():
                self._use(_file(name), at)

    def _use(self, file: str, at: float) -> None:
        self._folder(self._uses)
        path = self._uses / file
        with suppress(FileNotFoundError):
            if path.stat().st_mtime >= at:
                return
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        os.utime(path, (at, at))

    async def used(self) -> dict[str, float]:
        """Those of the routes that have been read."""
        found: dict[str, float] = {}
        with self._translated():
            for path in self._all(self._uses):
                if path.name in self._names:
                    with suppress(FileNotFoundError):
                        found[self._names[path.name]] = path.stat().st_mtime
        return found

    def _all(self, folder: Path) -> list[Path]:
        self._folder(folder)
        return [path for path in folder.iterdir() if not path.name.startswith(".")]

    def _folder(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def watch(self, listener: HubRecordListener) -> None:
        """Any change is one of all: `read_all` knows which files have changed."""
        while True:
            try:
                self._folder(self._routes)
                listener.tracking()
                await self._look_on(listener)
            except OSError as exc:
                listener.lost(str(exc))
                await asyncio.sleep(LOOK_EVERY_MS / 1000)

    async def _look_on(self, listener: HubRecordListener) -> None:
        """Until the folder is gone. Network file systems send no events, but tell its time."""
        seen = stamp_of(self._routes)
        async for changes in awatch(
            self._routes, debounce=50, step=10, rust_timeout=LOOK_EVERY_MS,
            yield_on_timeout=True, recursive=False,
        ):  # fmt: skip
            now = stamp_of(self._routes)
            if changes or now != seen:
                seen = now
                listener.changed(None)
            if now is None:
                return

    async def aclose(self) -> None:
        """Nothing is held."""


def _file(name: str) -> str:
    """A path may be longer than a file's name."""
    return sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
