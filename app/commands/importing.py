"""Writes a whole table into a store, in pieces where it is large, and says how far it has come."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from ..errors import HipacheError
from ..stores.table import Table, TableError, same_tables
from ..stores.tables import PartlyChanged, RouteTable
from .failing import CommandFailed
from .import_changes import FrontendChange, ImportChanges

TELLS = 10
"""Lines about the way of a long import, where there is no terminal."""


@dataclass(slots=True)
class Import:
    """A table on its way into a store."""

    changes: ImportChanges
    done: int = 0
    """How many of them are written."""

    async def run(self, table: RouteTable) -> None:
        """Write it, a piece at a time. Raises HipacheError, which says how far it came."""
        total, at_once = len(self.changes), table.rows_at_once
        large = at_once is not None and self.changes.rows > at_once
        with interrupts() as interrupted, told(total, shown=large) as advance:
            try:
                for piece in self.changes.pieces(at_once):
                    if interrupted.is_set():
                        raise CommandFailed("interrupted")
                    await self._write(table, piece)
                    self.done += len(piece)
                    advance(len(piece))
            except HipacheError as exc:
                if isinstance(exc, PartlyChanged):
                    self.done += exc.written
                if not self.done:
                    raise
                raise CommandFailed(f"{exc}: {self._how_far()}") from exc

    async def _write(self, table: RouteTable, piece: Sequence[FrontendChange]) -> None:
        before = {change.key: change.before for change in piece if change.before is not None}
        after = {change.key: change.after for change in piece if change.after is not None}

        def edit(now: Table) -> Table:
            if not same_tables(now, before):
                raise TableError("routes have changed meanwhile")
            return after

        await table.change([change.key for change in piece], edit)

    def _how_far(self) -> str:
        return (
            f"{self.done:,} of {len(self.changes):,} frontends are written; "
            "the same import goes on with the rest"
        )

    def summary(self, seconds: float) -> str:
        """What was done."""
        made = self.changes
        noun = "frontend" if made.added == 1 else "frontends"
        return (
            f"{made.added:,} {noun} added, {made.changed:,} changed, {made.removed:,} removed "
            f"in {seconds:.1f} s"
        )


@contextmanager
def interrupts() -> Iterator[asyncio.Event]:
    """Set by Ctrl-C and SIGTERM: a piece that is being written is written to its end."""
    loop, interrupted = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted.set)
    try:
        yield interrupted
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


@contextmanager
def told(total: int, *, shown: bool, done: str = "") -> Iterator[Callable[[int], None]]:
    """Shows how far it is: a bar on a terminal, else a line now and then. `done`: a participle."""
    console = Console(stderr=True)  # without colours where NO_COLOR is set
    if not shown:
        yield lambda count: None
    elif not console.is_terminal or console.is_dumb_terminal:
        yield _in_lines(total, f" {done}".rstrip())
    else:
        columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console) as progress:
            yield partial(progress.advance, progress.add_task(done, total=total))


def _in_lines(total: int, word: str) -> Callable[[int], None]:
    done, began = 0, time.monotonic()

    def advance(count: int) -> None:
        nonlocal done
        before, done = done, done + count
        if done * TELLS // total > before * TELLS // total:
            seconds = time.monotonic() - began
            how_far = f"{done:,} of {total:,} frontends{word}"
            click.echo(f"{how_far} after {seconds:.1f} s", err=True)

    return advance
