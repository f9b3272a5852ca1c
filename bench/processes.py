"""Start a program on one core, know when it serves, stop it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import Pipe, Process
from pathlib import Path
from types import MappingProxyType

CHECKOUT = Path(__file__).parents[1]
"""What programs that are started get as PYTHONPATH."""

Environment = Mapping[str, str | None]
"""Variables to add to ours; None takes one away."""
NOTHING: Environment = MappingProxyType({})

STARTUP_SECONDS = 60.0
STOP_SECONDS = 5.0


class BenchError(Exception):
    """The measurement cannot go on; the text says why."""


@contextmanager
def ending_in_order() -> Iterator[None]:
    """SIGTERM unwinds the block, as Ctrl-C does, so that what it started is stopped.

    Python's own answer is to be gone at once: servers that were started would stay.
    A second SIGTERM does not disturb that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is _end:
            signal.signal(signal.SIGTERM, before)


def _end(signum: int, frame: object) -> None:
    signal.signal(signum, signal.SIG_IGN)
    raise SystemExit(128 + signum)


def pinned(core: int, argv: Sequence[str | Path]) -> list[str]:
    """`argv` on one core; the children inherit that. taskset becomes the program, same id."""
    return ["taskset", "-c", str(core), *(os.fspath(part) for part in argv)]


def start(
    argv: Sequence[str | Path], *, core: int, log: Path, env: Environment = NOTHING
) -> subprocess.Popen[bytes]:
    """Run `argv` on `core`, with its output in `log` and in that folder."""
    changed = {**os.environ, **env}
    with log.open("ab") as output:
        return subprocess.Popen(
            pinned(core, argv),
            stdin=subprocess.DEVNULL,
            cwd=log.parent,
            stdout=output,
            stderr=output,
            env={name: value for name, value in changed.items() if value is not None},
            start_new_session=True,  # so that `stop` reaches the children
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL to the whole group."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):  # no process of the group is left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tail(log: Path) -> str:
    """The last lines of a program's output, for an error message."""
    return log.read_text(errors="replace")[-2000:]


@contextmanager
def serving(
    argv: Sequence[str | Path],
    port: int,
    *,
    core: int,
    log: Path,
    env: Environment = NOTHING,
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that accepts connections on `port` of 127.0.0.1 for as long as the block runs."""
    with ending_in_order():
        process = start(argv, core=core, log=log, env=env)
        try:
            _wait_for_port(process, port, log)
            yield process
        finally:
            stop(process)


@contextmanager
def in_process(what: object, *arguments: object) -> Iterator[None]:
    """`what` in a process of its own, which says over its last argument, a pipe, that it serves."""
    ours, theirs = Pipe()
    process = Process(target=what, args=(*arguments, theirs), daemon=True)  # type: ignore[arg-type]
    process.start()
    try:
        ours.recv()
        yield
    finally:
        process.terminate()
        process.join()


def _wait_for_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            pass
        else:
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{process.args!r} does not listen on port {port}:\n{tail(log)}")
        time.sleep(0.02)
