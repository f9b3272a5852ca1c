"""What the tracking connection reports, sorted by the part that it concerns."""

from __future__ import annotations

from collections.abc import Callable

from ..base import StoreListener
from .keys import FRONTEND, OPTIONS, PATHS, KeyNames
from .presence import Presence
from .questions import QUESTION
from .replies import text

ASKED = QUESTION.partition(":")[2]


class KeyChanges:
    """A tracking.TrackingListener in front of a StoreListener."""

    def __init__(
        self,
        listener: StoreListener,
        presence: Presence,
        names: KeyNames,
        asked: Callable[[str], None],
    ) -> None:
        """`asked` hears of questions, by their numbers."""
        self._listener, self._presence, self._names = listener, presence, names
        self._asked = asked
        self.look: Callable[[], None] = lambda: None

    def tracking(self) -> None:
        """Every change is reported from now on."""
        self._listener.tracking()

    def lost(self, reason: str) -> None:
        """No change is reported."""
        self._listener.lost(reason)
        self._presence.not_tracked()

    def unreachable(self, reason: str) -> None:
        """The server does not answer."""
        self._listener.unreachable(reason)

    def heard(self) -> None:
        """The server gave a sign of life."""
        self._listener.heard()

    def refused(self, reason: str) -> None:
        """The server never reports changes."""
        self._listener.refused(reason)
        self._presence.polls()

    def partly(self, unseen: Callable[[str], bool]) -> None:
        """The changes of some keys are not reported."""
        kinds, of = (FRONTEND, PATHS, OPTIONS), self._names.of
        self._listener.partly_tracking(lambda key: any(unseen(of(kind, key)) for kind in kinds))

    def keys(self, keys: list[bytes] | None) -> None:
        """Keys of a push; None: the server was flushed."""
        if keys is None:
            self._listener.everything_changed()
            self.look()
            return
        for raw in keys:
            kind, _, rest = text(raw).removeprefix(self._names.prefix).partition(":")
            key = self._names.key_in(rest)
            if kind in ("frontend", "options"):
                self._listener.frontend_changed(key)
            elif kind in ("dead", "dead-info"):
                self._listener.marks_changed(key)
            elif kind == "paths":
                self._listener.paths_changed(key)
            elif key.startswith(ASKED):
                self._asked(key.removeprefix(ASKED))
            else:
                self.look()
