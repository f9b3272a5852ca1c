"""Reads that the workers of one proxy share, so that a host is read once and not by each of them.

After an outage, or when a route in use changes, all workers ask for the same hosts at the same
time. A worker may believe what a sibling read if two things hold. The sibling began to read when
the worker was already told of every change. And since then the worker has not been told of a
change that concerns the host. Then it knows as much as if it had read the host itself, and what
changes later it is told.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from zlib import crc32

from ...frontends.site import host_of
from ...routing import lookup_keys
from ..base import Found
from .frontend_text import frontend_from, text_of
from .read_board import ReadBoard, Shared

WAIT = 0.05
"""Seconds that a sibling's read is waited for: many times what a read takes."""
LOOK_AFTER = 0.001, 0.002
"""Seconds between two looks whether the sibling's read has ended: by chance, from and to."""
SIBLINGS_EVERY = 1.0
"""Seconds between two looks which siblings there are."""
MOST_HEARD = 10_000
"""Changes that are remembered; when there are more, no earlier read is believed."""
NO_FRONTEND = b"-"

Publish = Callable[[Found | None], None]


class SiblingReads:
    """One worker's view of what its siblings have read and read now."""

    def __init__(self, folder: Path, store: str, clock: Callable[[], float] = monotonic) -> None:
        """`folder` is the workers' own; `store` names whose routes they are, with all that makes
        a difference. `clock` is one that all processes of the machine share. Raises OSError."""
        self._folder, self._clock = folder, clock
        self._start = f"reads-{crc32(store.encode()):08x}-"
        own = f"{self._start}{os.getpid()}-{secrets.token_hex(4)}"  # a process may have two
        self._board = ReadBoard(folder / own, create=True)
        self._siblings: dict[str, ReadBoard] = {}
        self._looked = 0.0
        self._since = self._clock()
        self._heard: dict[str, float] = {}

    def changed(self, key: str) -> None:
        """The store told of a change of this key. What was read before may be old."""
        if len(self._heard) >= MOST_HEARD:
            self.all_changed()
        self._heard[key] = self._clock()

    def all_changed(self) -> None:
        """Whatever was read before may be old."""
        self._since = self._clock()
        self._heard.clear()

    async def answer(self, host: str) -> tuple[Found | None] | None:
        """What a sibling has read of `host`, if that may be believed now; None: read it.

        Waits for a sibling that is at it.
        """
        until = self._clock() + WAIT
        while True:
            reading = False
            for board in self._others():
                shared = board.get(host)
                if shared is None or not self._is_true(host, shared):
                    continue
                if shared.answer is not None:
                    return (_found(shared.answer),)
                reading = True
            if not reading or self._clock() >= until:
                return None
            await asyncio.sleep(random.uniform(*LOOK_AFTER))

    @contextmanager
    def reading(self, host: str) -> Iterator[Publish]:
        """Tell siblings that this worker reads `host`; yields what takes the answer."""
        if not self._siblings:
            yield lambda found: None
            return
        began = self._clock()
        self._board.put(host, began, None)
        said = False

        def publish(found: Found | None) -> None:
            nonlocal said
            if (text := _text(found)) is not None:
                self._board.put(host, began, text)
                said = True

        try:
            yield publish
        finally:
            if not said:
                self._board.take_back(host)

    def _is_true(self, host: str, shared: Shared) -> bool:
        """Whether nothing has been told since that read began."""
        began = shared.began
        if began <= self._since or (shared.answer is None and began < self._clock() - 1):
            return False
        keys = (*lookup_keys(host), host_of(host))
        return all(self._heard.get(key, 0.0) < began for key in keys)

    def _others(self) -> list[ReadBoard]:
        now = self._clock()
        if now >= self._looked + SIBLINGS_EVERY:
            self._looked = now
            self._find_siblings()
        return list(self._siblings.values())

    def _find_siblings(self) -> None:
        for name, board in list(self._siblings.items()):
            if board.abandoned:
                del self._siblings[name]
                board.remove()
        for path in self._folder.glob(f"{self._start}*"):
            if path != self._board.path and path.name not in self._siblings:
                with suppress(OSError):  # it is gone, or not yet complete
                    self._siblings[path.name] = ReadBoard(path)

    def close(self) -> None:
        """Share no more."""
        for board in self._siblings.values():
            board.close()
        self._siblings.clear()
        self._board.remove()


def _text(found: Found | None) -> bytes | None:
    """What siblings can make the answer of again; None: it has marks, which are not shared."""
    if found is None:
        return NO_FRONTEND
    return None if found.marks or found.host_marks else text_of(found.frontend)


def _found(text: bytes) -> Found | None:
    return None if text == NO_FRONTEND else Found(frontend_from(text))
