"""Small files of our own, readable by their owner only, each replaced as a whole.

What root makes belongs to the owner of the folder around it: a person at a terminal may be root,
and the proxy that has to read it is not.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")


def write(path: Path, text: str) -> None:
    """Replace the file, or make it and its folder. Raises OSError."""
    make_folder(path.parent)
    # Two threads may write it at once, and two containers that share a folder have the same ids.
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    try:
        with os.fdopen(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w") as file:
            _give(file.fileno(), path.parent)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def make_folder(folder: Path) -> None:
    """Make it, and those around it, where they are missing. Raises OSError."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        _give(folder, folder.parent)


def _give(made: Path | int, folder: Path) -> None:
    if os.geteuid() == 0:
        around = folder.stat()
        if isinstance(made, int):
            os.fchown(made, around.st_uid, around.st_gid)
        else:
            os.chown(made, around.st_uid, around.st_gid, follow_symlinks=False)


def text_of(path: Path) -> str | None:
    """What is in it; None without the file. Raises OSError."""
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None


def write_until(path: Path, text: str, seconds: float) -> None:
    """The same for `unexpired`, which returns it for `seconds` from now. Raises OSError."""
    write(path, f"{time.time() + seconds}\n{text}")


def unexpired(path: Path) -> str | None:
    """What `write_until` wrote; None without the file, and after its time. Raises OSError."""
    until, _, text = (text_of(path) or "").partition("\n")
    try:
        return text if time.time() < float(until) else None
    except ValueError:  # written by something else
        return None


def left_behind(folder: Path, seconds: float) -> Iterator[Path]:
    """Files of the folder that a writer began more than `seconds` ago and did not end: it was
    killed. Raises OSError."""
    return (path for path in folder.glob(".*.new") if age_of(path) > seconds)


def decoded(text: str | None, kind: type[T]) -> T | None:
    """JSON as a `kind`; None for what is none, such as a file of another version."""
    try:
        return None if text is None else msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError:
        return None


def age_of(path: Path) -> float:
    """Seconds since it was written; 0 without the file."""
    with suppress(FileNotFoundError):
        return abs(time.time() - path.stat().st_mtime)
    return 0.0
