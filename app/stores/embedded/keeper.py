"""The process above the embedded server: starts it for the first user, stops it after the last.

Run as a script, with the standard library only, so that it stays small: `keeper.py DIR SOCKET
BINARY`. A user is a process that holds a shared lock on `DIR/users.lock`. The kernel takes the lock
from a process however it ends, so a server without users is noticed even after a SIGKILL.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

IDLE_BEFORE_STOP = 0.3
"""Seconds without a user before the server stops: a recycled worker is soon back."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0
"""Seconds before a server that stopped by itself is started again."""
STOP_WITHIN = 10.0
SUCCEED_WITHIN = 1.0
"""A keeper that ends may hold its lock a moment longer; one that stays is not replaced."""

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class Keeper:
    """Keeps one server running until nobody uses it any more."""

    def __init__(self, directory: Path, socket: Path, binary: str) -> None:
        self.directory, self.socket, self.binary = directory, socket, binary
        self.process: subprocess.Popen[bytes] | None = None
        self.stopping = threading.Event()

    def run(self) -> None:
        """Returns when the server has stopped."""
        with open(self.directory / "keeper.lock", "a", encoding="utf-8") as alone:
            if not lock_within(alone, SUCCEED_WITHIN):
                return
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, lambda *_: self.stop())
            threading.Thread(target=self.wait_for_users, daemon=True).start()
            self.keep_running()
            with contextlib.suppress(FileNotFoundError):
                self.socket.unlink()

    def keep_running(self) -> None:
        """Start the server, and again if it stops by itself."""
        pause = FIRST_PAUSE
        while not self.stopping.is_set():
            started = time.monotonic()
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                # It makes one system call and takes no lock, so our threads do no harm.
                preexec_fn=die_with_parent,  # noqa: PLW1509
            )
            if self.stopping.is_set():  # stop() may have come before there was a process
                self.process.terminate()
            self.process.wait()
            pause = FIRST_PAUSE if time.monotonic() - started > LONGEST_PAUSE else 2 * pause
            self.stopping.wait(min(pause, LONGEST_PAUSE))

    def wait_for_users(self) -> None:
        """Stop when the last user has gone, and nobody came for a moment."""
        with open(self.directory / "users.lock", "a", encoding="utf-8") as users:
            while True:
                fcntl.flock(users, fcntl.LOCK_EX)
                fcntl.flock(users, fcntl.LOCK_UN)
                time.sleep(IDLE_BEFORE_STOP)
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                self.stop()
                # Hold the lock: a new user waits until this server is gone.
                threading.Event().wait(STOP_WITHIN)
                if self.process is not None:
                    self.process.kill()
                return

    def stop(self) -> None:
        """Ask the server to save and end."""
        self.stopping.set()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def command(self) -> list[str]:
        """The server: data in the folder, no TCP port, every write in the log within a second."""
        return [
            self.binary, "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700",
            "--dir", str(self.directory), "--appendonly", "yes", "--save", "", "--daemonize", "no",
            "--logfile", str(self.directory / "server.log"),
        ]  # fmt: skip


def die_with_parent() -> None:
    """The server saves and ends even if the keeper is killed (Linux: prctl(2))."""
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def lock_within(file: IO[str], seconds: float) -> bool:
    """Take an exclusive lock, or not, within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)


if __name__ == "__main__":
    if os.fork():
        os._exit(0)  # an orphan: the process that started this need not wait for it
    os.umask(0o077)
    Keeper(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]).run()
