"""Whose password is verified next, where many wait: addresses take turns.

Verifying takes tens of milliseconds of a thread. Without turns, one visitor who guesses
holds all places of a site, and nobody else can log in there.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque

from ...errors import AccessUnknown

MAX_WAITING = 16
"""Passwords of one frontend that wait: beyond that the address with the most loses its last one."""


class Turn:
    """A password that waits."""

    __slots__ = ("address", "came", "frontend")

    def __init__(self, frontend: str, address: str) -> None:
        self.frontend = frontend
        self.address = address
        self.came: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class PasswordLine:
    """The passwords of one worker that wait for one of its threads."""

    def __init__(self, threads: int) -> None:
        self._free = threads
        self._lines: dict[str, deque[Turn]] = {}  # by address; the first one's turn is next
        self._waiting: dict[str, list[Turn]] = {}  # by frontend, in the order in which they came

    async def enter(self, frontend: str, address: str) -> None:
        """Wait for a thread; `leave` must follow. Raises AccessUnknown where there is no place."""
        if self._free:
            self._free -= 1
            return
        waiting = self._waiting.setdefault(frontend, [])
        if len(waiting) >= MAX_WAITING:
            self._make_place(waiting, address)
        turn = Turn(frontend, address)
        waiting.append(turn)
        self._lines.setdefault(address, deque()).append(turn)
        try:
            await turn.came
        except asyncio.CancelledError:
            if turn.came.cancelled():
                self._remove(turn)
            else:
                self.leave()
            raise

    def leave(self) -> None:
        """The thread is free: the next address has its turn, and waits behind the others then."""
        if not self._lines:
            self._free += 1
            return
        address, line = next(iter(self._lines.items()))
        turn = line[0]
        self._remove(turn)
        if line:
            self._lines[address] = self._lines.pop(address)
        turn.came.set_result(None)

    def _make_place(self, waiting: list[Turn], address: str) -> None:
        counts = Counter(turn.address for turn in waiting)
        greedy, most = counts.most_common(1)[0]
        error = AccessUnknown("too many passwords to verify")
        if most < counts[address] + 2:
            raise error
        last = next(turn for turn in reversed(waiting) if turn.address == greedy)
        self._remove(last)
        last.came.set_exception(error)

    def _remove(self, turn: Turn) -> None:
        line, waiting = self._lines[turn.address], self._waiting[turn.frontend]
        line.remove(turn)
        waiting.remove(turn)
        if not line:
            del self._lines[turn.address]
        if not waiting:
            del self._waiting[turn.frontend]
