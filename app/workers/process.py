"""The supervisor's handle on one worker: a forked process and a control socket.

The control socket carries JSON lines. A worker says `ready`, `alive` (with its
figures, every second) and `recycle`; the supervisor says `drain`. Its end of
file is a message too: each side learns by it that the other is gone, also
after a SIGKILL.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

WorkerMessage = dict[str, Any]
WorkerMain = Callable[[int, socket.socket], None]

REPORT_INTERVAL = 1.0
"""Seconds between two signs of life."""


class ControlChannel:
    """JSON lines over a non-blocking stream socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._partial = b""

    def send(self, **message: Any) -> None:
        """Say something; a peer that is gone or does not read misses it."""
        with contextlib.suppress(OSError):  # its silence is noticed where it matters
            self.sock.send(json.dumps(message).encode() + b"\n")

    def receive(self) -> list[WorkerMessage] | None:
        """The messages that have come, or None once the peer is gone."""
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        *lines, self._partial = (self._partial + data).split(b"\n")
        return [json.loads(line) for line in lines]


class WorkerProcess:
    """One worker as its supervisor sees it. `slot` numbers stay small: 1 … workers."""

    def __init__(self, slot: int, pid: int, channel: ControlChannel, now: float) -> None:
        self.slot = slot
        self.pid = pid
        self.channel = channel
        self.started = now
        self.last_seen = now
        self.ready = False
        self.draining = False
        self.drain_deadline = float("inf")
        self.report: WorkerMessage = {}
        """The figures of its last `alive`."""

    @classmethod
    def fork(cls, slot: int, main: WorkerMain, close_in_child: Callable[[], None]) -> WorkerProcess:
        """Start `main(slot, control)` in a child. The parent must have no threads.

        `close_in_child` closes what only the supervisor may hold: a child that
        kept another worker's control socket would hide its end of file.
        """
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            gc.freeze()  # a collection writes to what it visits, so this would be shared no longer
            ours.close()
            close_in_child()
            _run_child(slot, main, theirs)
        theirs.close()
        return cls(slot, pid, ControlChannel(ours), time.monotonic())

    def drain(self, grace: float, now: float, *, handed_over: bool = False) -> None:
        """Ask for a graceful end within `grace` seconds (0: however long it takes).

        One that drains already keeps its deadline if that is sooner.
        """
        deadline = now + grace if grace else float("inf")
        if not self.draining or deadline < self.drain_deadline:
            self.draining = True
            self.drain_deadline = deadline
            self.channel.send(do="drain", grace=grace, handed_over=handed_over)

    @property
    def serving(self) -> bool:
        """Whether it takes connections."""
        return self.ready and not self.draining

    def describe(self, now: float) -> WorkerMessage:
        """What `hipache status` shows of it."""
        state = "draining" if self.draining else "serving" if self.ready else "starting"
        report = {key: value for key, value in self.report.items() if key != "say"}
        age = round(now - self.started, 1)
        return {"worker": self.slot, "pid": self.pid, "state": state} | report | {"age": age}

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """Signal it; it may be gone already."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signum)

    def close(self) -> None:
        self.channel.sock.close()


def _run_child(slot: int, main: WorkerMain, control: socket.socket) -> NoReturn:
    """`main`, and then out: nothing of the supervisor's own stack may run in a child."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(signum, signal.SIG_DFL)
        main(slot, control)
        status = 0
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else 1
    except KeyboardInterrupt:
        status = 130
    except BaseException:  # the child's last word; os._exit would swallow it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def exited_children() -> Iterator[tuple[int, int]]:
    """Pid and exit code of every child that has ended since the last call."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def exit_name(exit_code: int) -> str:
    """An exit code as people know it.

    >>> exit_name(-9), exit_name(78)
    ('SIGKILL', '78')
    """
    return signal.Signals(-exit_code).name if exit_code < 0 else str(exit_code)
