"""What is shown while a command waits for others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
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


SHOWN_FROM = 20_000
"""Keys from which on it is shown how many were looked at."""


@contextmanager
def looking() -> Iterator[Callable[[int, int], None]]:
    """Show on a terminal how many keys of a large store were looked at, and of how many."""
    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield lambda count, total: None
        return
    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", visible=False)

        def show(count: int, total: int) -> None:
            progress.update(bar, completed=count, total=total, visible=total >= SHOWN_FROM)

        yield show
