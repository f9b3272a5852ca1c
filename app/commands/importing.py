"""Writes a whole table into a store, in pieces where it is large, and says how far it has come."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from ..errors import HipacheError
from ..stores.table import Entry, Table, TableError, same_tables
from ..stores.tables import RouteTable
from .failing import CommandFailed

TELLS = 10
"""Lines about the way of a long import, where there is no terminal."""


@dataclass(slots=True)
class Import:
    """A table on its way into a store."""

    before: Mapping[str, Entry]
    """What the store held when it was read."""
    wanted: Mapping[str, Entry]
    """What it shall hold. Frontends that are in `before` alone are removed."""
    changed: list[str] = field(init=False)
    """The frontends that do not stay as they are, those to be removed last."""
    done: int = 0
    """How many of them are written."""

    def __post_init__(self) -> None:
        keys = [key for key in sorted(self.wanted) if self.before.get(key) != self.wanted[key]]
        # Prefixes come after their host and go before it: they inherit its options.
        gone = sorted(self.before.keys() - self.wanted.keys(), reverse=True)
        self.changed = [*keys, *gone]

    async def run(self, table: RouteTable) -> None:
        """Write it, a piece at a time. Raises HipacheError, which says how far it came."""
        pieces = list(self.pieces(table.rows_at_once))
        with interrupts() as interrupted, told(len(self.changed), shown=len(pieces) > 1) as advance:
            try:
                for piece in pieces:
                    if interrupted.is_set():
                        raise CommandFailed("interrupted")
                    await self._write(table, piece)
                    self.done += len(piece)
                    advance(len(piece))
            except HipacheError as exc:
                if not self.done:
                    raise
                raise CommandFailed(f"{exc}: {self._how_far()}") from exc

    def pieces(self, rows_at_once: int | None) -> Iterator[list[str]]:
        """The changed frontends, as many at a time as the store takes in one change."""
        piece: list[str] = []
        rows = 0
        for key in self.changed:
            size = max(_size(self.before.get(key)), _size(self.wanted.get(key)))
            if piece and rows_at_once is not None and rows + size > rows_at_once:
                yield piece
                piece, rows = [], 0
            piece.append(key)
            rows += size
        if piece:
            yield piece

    async def _write(self, table: RouteTable, keys: Sequence[str]) -> None:
        before = {key: self.before[key] for key in keys if key in self.before}
        after = {key: self.wanted[key] for key in keys if key in self.wanted}

        def edit(now: Table) -> Table:
            if not same_tables(now, before):
                rest = "" if self.done else "; nothing was written"
                raise TableError(f"routes have changed meanwhile{rest}")
            return after

        await table.change(keys, edit)

    def _how_far(self) -> str:
        return (
            f"{self.done:,} of {len(self.changed):,} frontends are written; "
            "the same import goes on with the rest"
        )

    def summary(self, seconds: float) -> str:
        """What was done."""
        added = len(self.wanted.keys() - self.before.keys())
        removed = len(self.before.keys() - self.wanted.keys())
        changed = len(self.changed) - added - removed
        noun = "frontend" if added == 1 else "frontends"
        return (
            f"{added:,} {noun} added, {changed:,} changed, {removed:,} removed in {seconds:.1f} s"
        )


def _size(entry: Entry | None) -> int:
    """Rows and fields that are written."""
    return len(entry.rows) + len(entry.options) + len(entry.healthcheck) if entry else 0


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
def told(total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Shows how far it is: a bar on a terminal, else a line now and then."""
    console = Console(stderr=True)  # without colours where NO_COLOR is set
    if not shown:
        yield lambda count: None
    elif not console.is_terminal or console.is_dumb_terminal:
        yield _in_lines(total)
    else:
        columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console) as progress:
            yield partial(progress.advance, progress.add_task("", total=total))


def _in_lines(total: int) -> Callable[[int], None]:
    done, began = 0, time.monotonic()

    def advance(count: int) -> None:
        nonlocal done
        before, done = done, done + count
        if done * TELLS // total > before * TELLS // total:
            seconds = time.monotonic() - began
            click.echo(f"{done:,} of {total:,} frontends after {seconds:.1f} s", err=True)

    return advance
