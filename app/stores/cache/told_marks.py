"""Marks that the workers of one machine tell each other while no store does.

A file holds no marks, and a Redis that is away takes none. What was told is forgotten when the
store is back: the worker that marked a backend writes it there, and the store tells all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import astuple

from ...routing import Mark
from ...system.worker_team import WorkerTeam
from .local_marks import LocalMarks
from .outage import Outage

MARK, MARKS_WANTED = b"mark", b"marks?"
LONGEST_REASON = 500


class ToldMarks:
    """One worker's ears and mouth."""

    def __init__(self, local: LocalMarks, changed: Callable[[str], None], outage: Outage) -> None:
        """`changed` is called with the key of a frontend whose marks in `local` have changed."""
        self._local, self._changed, self._outage = local, changed, outage
        self._team: WorkerTeam | None = None

    def share(self, team: WorkerTeam | None) -> None:
        """As stores.routes.Routes.share_marks."""
        if team is None:
            return
        self._team = team
        team.hear(MARK, self._heard)
        team.hear(MARKS_WANTED, self._asked)
        self._local.tell = self._tell
        self._outage.on_away, self._outage.on_back = self._ask, self._forget
        self._ask()

    def _ask(self) -> None:
        """Others may know of marks: those of a file, if this worker is new."""
        assert self._team is not None
        self._team.tell_all(MARKS_WANTED, b"%d" % self._team.number)

    @property
    def _needed(self) -> bool:
        """Whether the store does not tell."""
        return self._outage.away or not self._local.store.shares_marks

    def _tell(self, key: str, url: str, mark: Mark | None) -> None:
        """Tell the others, if the store does not."""
        if self._needed and self._team is not None:
            self._team.tell_all(MARK, _as_text(key, url, mark))

    def _asked(self, number: bytes) -> None:
        if not self._needed or self._team is None:
            return
        now = time.time()
        for key, url, mark in self._local.known():
            if mark.until > now:
                self._team.tell(int(number), MARK, _as_text(key, url, mark))

    def _heard(self, word: bytes) -> None:
        if self._needed:
            key, url, mark = json.loads(word)
            self._local.take(key, url, None if mark is None else Mark(*mark))
            self._changed(key)

    def _forget(self) -> None:
        """The store is back."""
        for key in self._local.forget_told():
            self._changed(key)


def _as_text(key: str, url: str, mark: Mark | None) -> bytes:
    values = None if mark is None else list(astuple(mark))
    if values is not None:
        values[2] = values[2][:LONGEST_REASON]
    return json.dumps((key, url, values)).encode()
