"""The journal as a file beside the table: a line of JSON for each change."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from ..journal import MAX_CHANGES

MAX_BYTES = 4_194_304
"""A longer journal keeps its newer half."""


def lines_of(path: Path) -> list[str]:
    """All changes, the oldest first. Raises OSError."""
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []


def append(path: Path, lines: Sequence[str], *, like: Path) -> None:
    """Add changes; a new file has the rights of `like`. One writer at a time. Raises OSError."""
    if not lines:
        return
    text = "".join(f"{line}\n" for line in lines)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    is_new = not path.exists()
    with open(os.open(path, flags, 0o600), "ab") as file:
        if is_new:
            shutil.copymode(like, path)
        file.write(text.encode())
        size = file.tell()
    if size > MAX_BYTES:
        kept = lines_of(path)[-MAX_CHANGES:]
        _replace(path, kept[len(kept) // 2 :])


def _replace(path: Path, lines: Sequence[str]) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    shutil.copymode(path, temporary)
    temporary.replace(path)
