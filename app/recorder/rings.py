"""Where stories are kept: files in memory, which outlive the worker that wrote them.

A ring is two files that take turns: when one is full the other is emptied and goes on, so
at least the last HALF bytes are always there. Nothing is mapped: where memory has run out a
write fails, and no signal ends the worker. A reader may meet a story that is being written;
it stops there.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

from .stories import Kind, Story

HALF = {Kind.FAILED: 1 << 19, Kind.REFUSED: 1 << 18, Kind.KEPT: 1 << 17}
"""Bytes of one of the two files. A story takes 150 to 400: the last 1,000 that failed are there."""
MAX_LEFT = 8 << 20
"""Bytes that the files of ended workers may take together."""

_FILE = re.compile(r"(\d+)-[0-9a-f]{8}\.(failed|refused|kept)\.[01]")
_SERVICE = "service"
"""The file that names the service."""
_SIZE = 4  # bytes of a story's length, in front of it

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Story).decode


class Ring:
    """The stories of one kind of one worker. It holds one open file, from its beginning on."""

    def __init__(self, folder: Path, kind: Kind, token: str) -> None:
        """Raises OSError."""
        self._paths = [folder / f"{os.getpid()}-{token}.{kind}.{half}" for half in (0, 1)]
        self._half = HALF[kind]
        self._file = -1
        self._number = 1
        self._turn()

    def add(self, story: Story) -> None:
        """Keep a story. Raises OSError where there is no room in memory."""
        data = _encode(story)
        data = len(data).to_bytes(_SIZE, "little") + data
        if self._at + len(data) > self._half:
            self._turn()
        if os.pwrite(self._file, data, self._at) == len(data):
            self._at += len(data)

    def _turn(self) -> None:
        self.close()
        self._number = 1 - self._number
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._file = os.open(self._paths[self._number], flags, 0o600)
        self._at = 0

    def close(self) -> None:
        """Write no more; the stories stay."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def rings(folder: Path, service: str) -> dict[Kind, Ring]:
    """The rings of a new worker of `service`; files of ended workers beyond MAX_LEFT are removed.

    Raises OSError.
    """
    token = secrets.token_hex(4)
    (folder / _SERVICE).write_text(service, "utf-8", "surrogateescape")
    _remove_oldest(folder)
    return {kind: Ring(folder, kind, token) for kind in Kind}


def is_of(folder: Path, service: str) -> bool:
    """Whether workers of `service` keep their stories in this folder."""
    try:
        return (folder / _SERVICE).read_text("utf-8", "surrogateescape") == service
    except OSError:
        return False


def stories(
    folders: Iterable[Path], kinds: Iterable[Kind] = tuple(Kind), *, holding: str = ""
) -> list[Story]:
    """All stories of these kinds, the oldest first; with `holding` only from files that hold it."""
    return _read_all([path for folder in folders for path in _files(folder)], kinds, holding)


def own_and_left(folder: Path, kinds: Iterable[Kind], *, holding: str = "") -> list[Story]:
    """The same of this process, and of those that have ended and left theirs."""
    own = f"{os.getpid()}-"
    files = [path for path in _files(folder) if path.name.startswith(own) or _is_left(path)]
    return _read_all(files, kinds, holding)


def _read_all(files: Iterable[Path], kinds: Iterable[Kind], holding: str) -> list[Story]:
    wanted = frozenset(kinds)
    found = [
        story
        for path in files
        if (named := _FILE.fullmatch(path.name)) is not None and named[2] in wanted
        for story in _read(path, holding.encode("utf-8", "replace"))
    ]
    return sorted(found, key=lambda story: story.at)


def _files(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []  # its service has ended meanwhile


def _read(path: Path, holding: bytes) -> Iterator[Story]:
    try:
        data = path.read_bytes()
    except OSError:
        return  # removed meanwhile
    if holding not in data:
        return  # quicker than to decode thousands of others
    at = 0
    while at < len(data):
        end = at + _SIZE + int.from_bytes(data[at : at + _SIZE], "little")
        try:
            yield _decode(data[at + _SIZE : end])
        except msgspec.MsgspecError:
            return
        at = end


def _remove_oldest(folder: Path) -> None:
    with suppress(OSError):  # a sibling may be doing so
        left = [(path, path.stat()) for path in folder.iterdir() if _is_left(path)]
        room = MAX_LEFT
        for path, status in sorted(left, key=lambda file: -file[1].st_mtime):
            room -= status.st_size
            if room < 0:
                path.unlink(missing_ok=True)


def _is_left(path: Path) -> bool:
    named = _FILE.fullmatch(path.name)
    return named is not None and not psutil.pid_exists(int(named[1]))
