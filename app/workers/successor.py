"""The newly installed program, started on our sockets, as the supervisor that started it sees it.

It tells over its channel (JSON lines, as a worker's) that it is `ready`, and what it took, or
that it has `failed`, and why. We answer `take over`; later it may tell us to `stop` or `reopen`.
What it writes to standard error before it serves comes to us through a pipe: the last line is why
it could not start, whatever kept it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

import msgspec

from .process import ControlChannel, exit_name
from .sockets import SocketOffer

VARIABLE = "HIPACHE_UPGRADE"
"""The environment's variable that brings an Invitation to the new program."""
KEPT_OUTPUT = 1000
"""Bytes that are kept of what it wrote."""
STDERR = 2
ENDING = (signal.SIGTERM, signal.SIGINT)
ROOT_IS_GONE = (
    "; if only root may do that, restart the service: an upgrade cannot, since root was given up"
)


class Invitation(msgspec.Struct, frozen=True):
    """What a new program is told when it is started to take over. Numbers are descriptors."""

    channel: int
    stderr: int
    """The standard error that it has once it serves."""
    sockets: list[SocketOffer]
    gave_up_root: bool
    """The service was started as root and became `user`: what only root may do is past."""


def own_program() -> list[str]:
    """The command that starts this program again, in the version that is installed then.

    A script is started by its name: its first line names the interpreter, which is
    another one if the name leads to another virtual environment by now.
    """
    script = sys.argv[0]
    if sys.orig_argv[1:2] == [script] and os.path.isabs(script) and os.access(script, os.X_OK):
        return [script, *sys.argv[1:]]
    return [sys.executable, *sys.orig_argv[1:]]


class Successor:
    """A started program and what it said."""

    def __init__(self, pid: int, channel: ControlChannel, stderr: int, deadline: float) -> None:
        self.pid = pid
        self.channel = channel
        self.stderr = stderr
        self.deadline = deadline
        """On time.monotonic(): when it must be ready, or, once it was told to stop, be gone."""
        self._last_words = b""

    @classmethod
    def start(
        cls,
        program: Sequence[str],
        sockets: Sequence[SocketOffer],
        within: float,
        *,
        gave_up_root: bool,
    ) -> Successor:
        """Fork and execute it. The process must have no threads. Raises OSError."""
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        stderr = os.dup(STDERR)
        # A signal between fork and exec would reach a handler of ours in the child, and be lost.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            pid = os.fork()
            if pid == 0:
                invitation = Invitation(theirs.fileno(), stderr, list(sockets), gave_up_root)
                _become(program, invitation, writing)
        except OSError:
            ours.close()
            os.close(reading)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            theirs.close()
            os.close(writing)
            os.close(stderr)
        os.set_blocking(reading, False)
        return cls(pid, ControlChannel(ours), reading, time.monotonic() + within)

    def read_stderr(self) -> bytes | None:
        """Pass on what it writes before it serves. None: nothing is there; empty: the end."""
        try:
            data = os.read(self.stderr, 65536)
        except BlockingIOError:
            return None
        with contextlib.suppress(OSError):
            os.write(STDERR, data)
        self._last_words = (self._last_words + data)[-KEPT_OUTPUT:]
        return data

    def why_ended(self, exit_code: int) -> str:
        """Why it ended before it served: its last line and its exit status."""
        while self.read_stderr():
            pass
        said = self._last_words.strip().rpartition(b"\n")[2].decode("utf-8", "replace")
        ended = f"it ended with status {exit_name(exit_code)}"
        return f"{said.removeprefix('hipache: ')} ({ended})" if said else ended

    def signal(self, number: signal.Signals) -> None:
        """Signal it; it may be gone already."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def close(self) -> None:
        self.channel.sock.close()
        os.close(self.stderr)


def _become(program: Sequence[str], invitation: Invitation, stderr: int) -> NoReturn:
    """In the child: replace it by the new program, or write why not."""
    try:
        signal.set_wakeup_fd(-1)
        for number in ENDING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        os.dup2(stderr, STDERR)
        descriptors = [each.descriptor for each in invitation.sockets]
        for descriptor in (invitation.channel, invitation.stderr, *descriptors):
            os.set_inheritable(descriptor, True)
        environ = {k: v for k, v in os.environ.items() if not k.startswith("LISTEN_")}
        environ[VARIABLE] = msgspec.json.encode(invitation).decode()
        if "WATCHDOG_PID" in environ:
            environ["WATCHDOG_PID"] = str(os.getpid())
        os.execve(program[0], list(program), environ)
    except OSError as exc:
        hint = ROOT_IS_GONE if invitation.gave_up_root else ""
        os.write(stderr, f"{program[0]} cannot be started: {exc.strerror}{hint}\n".encode())
    finally:
        os._exit(127)
