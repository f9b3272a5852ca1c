"""What is shown while a command waits for others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from ..masking import printable


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show on a terminal what is waited for, until it is there; elsewhere show nothing."""
    console = Console(stderr=True)  # without colours where NO_COLOR is set
    if not console.is_terminal or console.is_dumb_terminal:
        yield
        return
    with console.status(Text(printable(what))):
        yield
