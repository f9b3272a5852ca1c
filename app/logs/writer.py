"""The access log's writer: the event loop gathers lines, a thread writes them."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
        self._lines: deque[str] = deque()
        # One thread writes each of these, so no count needs a lock.
        self._queued = self._dropped = 0  # bytes and lines, the caller's
        self._taken = self._failed = 0  # the thread's
        self._wake = threading.Event()
        self._due = threading.Event()
        self._reopen = self._closing = False
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
        self._queued += len(line)
        if not self._wake.is_set():
            self._wake.set()
        if pending > FLUSH_BYTES:
            self._due.set()

    def reopen(self) -> None:
        """Write the waiting lines, then reopen the file, soon and in the background."""
        self._reopen = True
        self._due.set()
        self._wake.set()

    async def aclose(self, timeout: float = 5.0) -> None:
        """Write the waiting lines, for at most `timeout` seconds, and close."""
        await asyncio.to_thread(self.close, timeout)

    def close(self, timeout: float = 5.0) -> None:
        """As `aclose`, but blocking."""
        self._closing = True
        self._due.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._dropped += len(self._lines)  # a disk that hangs leaves some

    def _run(self) -> None:
        self._sink.reopen()
        if self._sink.fault:
            logger.warning(f"{self._name} cannot be opened cause=%s", self._sink.fault)
        closing = False
        while not closing:
            self._wake.wait()
            self._due.wait(self._flush_seconds)
            # Read and clear before taking the lines: later ones wake us again.
            closing = self._closing
            self._wake.clear()
            self._due.clear()
            self._drain()
            if self._reopen:
                self._reopen = False
                self._sink.reopen()
            self._report(final=closing)
        self._sink.close()

    def _drain(self) -> None:
        while self._lines:
            batch: list[str] = []
            size = 0
            while self._lines and size < FLUSH_BYTES:
                batch.append(self._lines.popleft())
                size += len(batch[-1])
            self._failed += self._sink.write(batch)
            self._taken += size

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
