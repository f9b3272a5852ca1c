"""The keys of `hipache top`: quit, sort, filter."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .top_screen import SORTS

ENTER, ESCAPE, ERASE = ("\r", "\n"), "\x1b", ("\x7f", "\b")
MAX_FILTER = 60


@dataclass(slots=True)
class TopKeys:
    """What was typed so far."""

    sort: str = SORTS[0]
    filter: str = ""
    typing: bool = False
    """The filter is being typed."""
    over: bool = False

    def press(self, key: str) -> None:
        """One character from the terminal."""
        if self.typing:
            self._type(key)
        elif key in ("q", "Q"):
            self.over = True
        elif key == "s":
            self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]
        elif key == "/":
            self.typing, self.filter = True, ""
        elif key == ESCAPE:
            self.filter = ""

    def _type(self, key: str) -> None:
        if key in ENTER:
            self.typing = False
        elif key == ESCAPE:
            self.typing, self.filter = False, ""
        elif key in ERASE:
            self.filter = self.filter[:-1]
        elif key.isprintable() and len(self.filter) < MAX_FILTER:
            self.filter += key

    @property
    def footer(self) -> str:
        """What can be typed now."""
        if self.typing:
            return f"filter: {self.filter}_   Enter keeps it, Esc ends it"
        only = f"only {self.filter!r} (Esc: all)" if self.filter else "/ filter"
        return f"q quit   s sort (by {self.sort})   {only}"


@contextmanager
def raw_keys() -> Iterator[bool]:
    """Keys come one by one, without Enter; False where nobody can type."""
    try:
        terminal = sys.stdin.fileno()
        before = termios.tcgetattr(terminal)
    except (OSError, ValueError, termios.error):
        yield False
        return
    try:
        tty.setcbreak(terminal)
        yield True
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def typed_within(seconds: float) -> str:
    """What is typed in that time; it returns as soon as something is. Raises EOFError."""
    terminal = sys.stdin.fileno()
    if not select.select([terminal], [], [], max(0.0, seconds))[0]:
        return ""
    data = os.read(terminal, 64)
    if not data:
        raise EOFError
    text = data.decode("utf-8", "replace")
    # An arrow or another key that is no character: more than Escape alone.
    return "" if text.startswith(ESCAPE) and len(text) > 1 else text
