"""The last known routes on disk, for a proxy that has to start while the store is away.

One file for all workers of a proxy: a line that says which store it is about, then a line for each
host: when it was last known to be so, the host, and its frontend as JSON. A worker keeps what
others wrote.

The work is cut into steps by generators, for the caller to let others have their turn in between:
in a thread the same work would take the interpreter from the event loop 5 ms at a time, thousands
of times.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import Collection, Generator, Iterable, Mapping
from pathlib import Path

from ...routing import Frontend
from .frontend_text import frontend_from, text_of

logger = logging.getLogger(__name__)

SNAPSHOT_VERSION = 1
FORGET_AFTER = 7 * 86400
"""Seconds after which a host that nobody asked for is dropped."""
LINES_AT_A_TIME = 20
"""Lines that are read or written at a time, in a millisecond or two."""

Lines = list[bytes]


class Snapshot:
    """The file. `read` and `replace` block: call them in a thread."""

    def __init__(self, path: Path, store: str, *, size: int) -> None:
        """`store` names whose routes these are: another store's are not read. `size`: hosts."""
        self.path = path
        self._header = json.dumps({"version": SNAPSHOT_VERSION, "store": store}).encode()
        self._size = size or 10**9

    def read(self) -> Lines:
        """The lines of the hosts. None, where there is no such file. Raises OSError."""
        try:
            header, *lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        return lines if header == self._header else []

    def parse(self, lines: Lines) -> Generator[None, None, dict[str, Frontend]]:
        """The frontend of every host, the one known last first."""
        found: dict[str, Frontend] = {}
        frontends: dict[bytes, Frontend] = {}
        with contextlib.suppress(ValueError):
            lines.sort(key=_seen, reverse=True)
        for number, line in enumerate(lines[: self._size], 1):
            if number % LINES_AT_A_TIME == 0:
                yield
            try:
                _, host, text = line.split(b"\t")
                if text not in frontends:
                    frontends[text] = frontend_from(text)
                found[host.decode()] = frontends[text]
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                if line:
                    logger.warning("snapshot line unreadable file=%s line=%r", self.path, line[:80])
        return found

    def merge(
        self, lines: Lines, known: Mapping[str, Frontend], absent: Collection[str]
    ) -> Generator[None, None, Lines]:
        """`known`, which is true now, and what `lines` say about other hosts, not `absent`."""
        now = round(time.time())
        texts: dict[int, bytes] = {}  # by frontend: the hosts of a wildcard share one
        merged = [self._header]
        for number, (host, frontend) in enumerate(known.items(), 1):
            if number % LINES_AT_A_TIME == 0:
                yield
            if id(frontend) not in texts:
                texts[id(frontend)] = text_of(frontend)
            merged.append(b"%d\t%b\t%b" % (now, host.encode(), texts[id(frontend)]))
        for number, line in enumerate(lines, 1):
            if number % LINES_AT_A_TIME == 0:
                yield
            try:
                seen, name, _ = line.split(b"\t")
                host, then = name.decode(), int(seen)
            except ValueError:
                continue
            if host not in known and host not in absent and then > now - FORGET_AFTER:
                merged.append(line)
        return merged[: 1 + self._size]

    def replace(self, lines: Iterable[bytes]) -> None:
        """Replace the file. Raises OSError."""
        temporary = self.path.with_suffix(f".{os.getpid()}.new")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(b"\n".join(lines) + b"\n")
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def alone(self) -> Generator[bool, None, None]:
        """Yields whether no other worker writes; none does while this is open. Raises OSError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.path.with_suffix(".lock"), "a", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


def _seen(line: bytes) -> int:
    return int(line.partition(b"\t")[0] or 0)
