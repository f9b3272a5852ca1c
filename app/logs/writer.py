"""The access log's writer: the event loop gathers lines, a thread writes them."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from queue import Empty, SimpleQueue
from time import monotonic

from .access_log import Format
from .log_target import LogTarget
from .record import AccessRecord
from .sinks import Sink, open_sink

logger = logging.getLogger(__name__)

FLUSH_BYTES = 64 * 2**10
FLUSH_SECONDS = 1.0
MAX_PENDING = 16 * 2**20
"""Bytes that may wait for a slow disk; lines beyond that are lost and counted."""
REPORT_SECONDS = 60.0


class LineWriter:
    """Hands lines to a sink, in order, at most a second or 64 KiB late; never blocks its caller.

    Only the event loop's thread calls `write` and `reopen`. Nothing here raises: a
    line that cannot be written is lost, counted in `lost`, and reported at once and
    then once a minute.
    """

    def __init__(
        self, sink: Sink, *, name: str = "access log", flush_seconds: float = FLUSH_SECONDS
    ) -> None:
        self._sink = sink
        self._name = name
        self._flush_seconds = flush_seconds
        self._lines: list[str] = []  # not handed over yet
        self._taking = threading.Lock()
        # One thread writes each of these, so no count needs a lock.
        self._gathered = self._queued = self._dropped = 0  # bytes, bytes and lines: the caller's
        self._taken = self._failed = 0  # the thread's
        # The thread gets all lines of a flush at once, and is woken as seldom: each time it takes
        # the interpreter's lock from the event loop.
        self._batches: SimpleQueue[list[str] | None] = SimpleQueue()  # None: open the file anew
        self._sleeps = False
        self._closing = False
        self._reported_at = -REPORT_SECONDS
        self._reported_lost = 0
        # A daemon: a disk that never answers must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def lost(self) -> int:
        """Lines that were not written."""
        return self._dropped + self._failed

    def start(self) -> None:
        """Start the thread. Call this in the process that writes: a fork has no threads."""
        self._thread.start()

    def write(self, line: str) -> None:
        """Queue one line, without its line break."""
        pending = self._queued - self._taken
        if pending > MAX_PENDING:
            self._dropped += 1
            return
        self._lines.append(line)
        size = len(line)
        self._queued += size
        self._gathered += size
        if self._gathered > FLUSH_BYTES:
            self._hand_over()
        elif self._sleeps:
            self._sleeps = False
            self._batches.put([])

    def reopen(self) -> None:
        """Write the waiting lines, then reopen the file, soon and in the background."""
        self._hand_over()
        self._batches.put(None)

    async def aclose(self, timeout: float = 5.0) -> None:
        """Write the waiting lines, for at most `timeout` seconds, and close."""
        await asyncio.to_thread(self.close, timeout)

    def close(self, timeout: float = 5.0) -> None:
        """As `aclose`, but blocking."""
        self._closing = True
        self._hand_over()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._dropped += len(self._take())
        with suppress(Empty):
            while True:  # a disk that hangs leaves some
                self._dropped += len(self._batches.get_nowait() or ())

    def _run(self) -> None:
        self._sink.reopen()
        if self._sink.fault:
            logger.warning(f"{self._name} cannot be opened cause=%s", self._sink.fault)
        closing = False
        while not closing:
            batch = self._next_batch()
            closing = self._closing and self._batches.empty()
            if batch:
                self._failed += self._sink.write(batch)
                self._taken += sum(map(len, batch))
            elif batch is None:
                self._sink.reopen()
            self._report(final=closing)
        self._sink.close()

    def _next_batch(self) -> list[str] | None:
        """What was handed over, or what has been gathered for `flush_seconds`."""
        with suppress(Empty):
            return self._batches.get(timeout=0 if self._closing else self._flush_seconds)
        batch = self._take()
        if batch or self._closing:
            return batch
        self._sleeps = True
        if self._lines:  # one that came meanwhile may have seen us awake
            self._sleeps = False
            return []
        return self._batches.get()

    def _hand_over(self) -> None:
        self._gathered = 0
        self._batches.put(self._take())

    def _take(self) -> list[str]:
        """All lines that were gathered; more may be added meanwhile."""
        with self._taking:
            batch = self._lines[:]
            del self._lines[: len(batch)]
            return batch

    def _report(self, *, final: bool) -> None:
        lost = self.lost - self._reported_lost
        if not lost:
            return
        now = monotonic()
        if now - self._reported_at < REPORT_SECONDS and not final:
            return
        self._reported_at = now
        self._reported_lost += lost
        logger.warning(f"{self._name} lost lines=%d cause=%s", lost, self._sink.fault or "too slow")


class AccessLog:
    """The access log of one worker."""

    def __init__(self, target: LogTarget | None, line_format: Format) -> None:
        """`target` is None for no log; `line_format` writes one line."""
        self.enabled = target is not None
        """Without a log nothing needs to fill in the whole record."""
        self._format = line_format
        self._writer = LineWriter(open_sink(target)) if target is not None else None

    @property
    def lost(self) -> int:
        """Lines that were not written."""
        return self._writer.lost if self._writer else 0

    def write(self, record: AccessRecord) -> None:
        """Log one finished request."""
        if self._writer:
            self._writer.write(self._format(record))

    def start(self) -> None:
        if self._writer:
            self._writer.start()

    def reopen(self) -> None:
        if self._writer:
            self._writer.reopen()

    async def aclose(self) -> None:
        if self._writer:
            await self._writer.aclose()


@asynccontextmanager
async def access_log(target: LogTarget | None, line_format: Format) -> AsyncIterator[AccessLog]:
    """The access log while the application runs; SIGUSR1 reopens its file."""
    log = AccessLog(target, line_format)
    log.start()
    in_main_thread = threading.current_thread() is threading.main_thread()
    loop = asyncio.get_running_loop()
    if in_main_thread:
        loop.add_signal_handler(signal.SIGUSR1, log.reopen)
    try:
        yield log
    finally:
        if in_main_thread:
            loop.remove_signal_handler(signal.SIGUSR1)
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # its default would end the process
        await log.aclose()
