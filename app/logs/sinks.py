"""Where lines of a log go: a file, standard output, a syslog. Blocking; for the writer's thread.

A sink takes a list of lines, writes whole ones only, and returns how many it
could not write. `fault` keeps the reason for the writer's report.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import stat
from datetime import datetime
from pathlib import Path
from typing import Protocol

from . import syslog
from .log_target import LogTarget


class Sink(Protocol):
    fault: str
    """Why the last write failed; empty if it did not."""

    def write(self, lines: list[str]) -> int:
        """Write `lines` and return how many were lost."""

    def reopen(self) -> None:
        """Open the file that has the name now. Never raises."""

    def close(self) -> None: ...


class FileSink:
    """A file that other programs may append to, rotate and remove.

    It is opened again as soon as another file, or none, stands under its name:
    after logrotate's rename no signal is needed. Each write is one appending
    `write(2)` under a lock that all our workers take: the lock lets a worker
    cut off the half line that a full disk left behind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fault = ""
        self._fd = -1
        self._opened: os.stat_result | None = None
        self._parent_made = False

    def write(self, lines: list[str]) -> int:
        try:
            if not self._is_current():
                self._open()
            if self._opened is not None and stat.S_ISREG(self._opened.st_mode):
                lost, self.fault = self._append(_joined(lines))
            else:
                lost, self.fault = _stream(self._fd, _joined(lines))
        except OSError as exc:
            lost, self.fault = len(lines), _reason(exc)
        return lost

    def _is_current(self) -> bool:
        if self._fd < 0 or self._opened is None:
            return False
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, self._opened)

    def _open(self) -> None:
        self.close()
        if not self._parent_made:
            # Only at the start: a folder that vanishes later may be a volume that was unmounted.
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._parent_made = True
        # O_NONBLOCK: to open a pipe that nobody reads must fail, not wait.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY | os.O_NONBLOCK
        self._fd = os.open(self.path, flags, 0o644)
        self._opened = os.fstat(self._fd)

    def _append(self, data: bytes) -> tuple[int, str]:
        """Write all of `data`, or as many whole lines as there is room for."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            written = os.write(self._fd, data)
            if written == len(data):
                return 0, ""
            whole = data.rfind(b"\n", 0, written) + 1
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - (written - whole))
            return data.count(b"\n", whole), "no space left for all of it"
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def reopen(self) -> None:
        try:
            self._open()
        except OSError as exc:
            self.fault = _reason(exc)

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


class DescriptorSink:
    """An open descriptor that is not ours to close, such as standard output."""

    def __init__(self, fd: int) -> None:
        self.fault = ""
        self._fd = fd

    def write(self, lines: list[str]) -> int:
        lost, self.fault = _stream(self._fd, _joined(lines))
        return lost

    def reopen(self) -> None:
        pass

    def close(self) -> None:
        pass


class SyslogSink:
    """One datagram per line to a Unix socket or over UDP."""

    def __init__(self, address: syslog.SyslogAddress) -> None:
        self.fault = ""
        self._address = address
        self._hostname = "" if isinstance(address, str) else socket.gethostname()
        self._socket: socket.socket | None = None

    def write(self, lines: list[str]) -> int:
        head = syslog.prefix(datetime.now(), os.getpid(), self._hostname)
        lost = 0
        self.fault = ""
        for line in lines:
            try:
                self._connected().send(f"{head}{line}".encode())
            except OSError as exc:
                self.fault = _reason(exc)
                self.close()  # a daemon that was started again has another socket
                lost += 1
        return lost

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = _connect(self._address)
        return self._socket

    def reopen(self) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def open_sink(target: LogTarget) -> Sink:
    """The sink for what `server.accessLog` names. Opens nothing yet."""
    if target.file is not None:
        return FileSink(Path(target.file))
    return DescriptorSink(1) if target.syslog is None else SyslogSink(target.syslog)


def _connect(address: syslog.SyslogAddress) -> socket.socket:
    family, target = socket.AF_UNIX, address
    if isinstance(address, tuple):
        family, _, _, _, found = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)[0]
        target = (str(found[0]), int(found[1]))
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.connect(target)
    except OSError:
        made.close()
        raise
    return made


def _joined(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")


def _stream(fd: int, data: bytes) -> tuple[int, str]:
    """Write `data` to a pipe, terminal or device, waiting as long as its reader needs.

    In pieces of whole lines that a pipe takes at once: workers that share one
    must not write into each other's lines (a line over PIPE_BUF, 4 KiB, still may).
    """
    start = 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + select.PIPE_BUF) + 1 or data.index(b"\n", start) + 1
        piece = memoryview(data)[start:end]
        while piece:
            try:
                piece = piece[os.write(fd, piece) :]
            except BlockingIOError:
                poll = select.poll()
                poll.register(fd, select.POLLOUT)
                poll.poll()
            except OSError as exc:
                return data.count(b"\n", start), _reason(exc)
        start = end
    return 0, ""


def _reason(exc: OSError) -> str:
    return exc.strerror or str(exc)
