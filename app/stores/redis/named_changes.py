"""What the tracking connection reports of keys that share a beginning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from .connections import StoreLink
from .links import tracker_of
from .replies import text
from .tracking import at_once


class NameListener(Protocol):
    """Hears which names changed. No method waits or raises."""

    def tracking(self) -> None:
        """Every change is reported from now on."""

    def lost(self, reason: str) -> None:
        """Changes are no longer reported."""

    def changed(self, names: Sequence[str] | None) -> None:
        """These changed; None: any may have."""


class NamedChanges:
    """A tracking.TrackingListener in front of a listener that knows names alone."""

    def __init__(self, listener: NameListener, prefix: str) -> None:
        """`prefix` is what each key has before its name."""
        self._listener, self._prefix = listener, prefix
        self.tracking, self.lost = listener.tracking, listener.lost

    def keys(self, keys: list[bytes] | None) -> None:
        """Keys of a push; None: the server was flushed."""
        names = None if keys is None else [text(key).removeprefix(self._prefix) for key in keys]
        self._listener.changed(names)

    def unreachable(self, reason: str) -> None:
        """The server does not answer."""
        self._listener.lost(reason)

    def refused(self, reason: str) -> None:
        """The server never reports changes."""
        self._listener.lost(reason)

    def partly(self, unseen: Callable[[str], bool]) -> None:
        """Not every change is reported."""
        self._listener.lost("a primary of the cluster reports no changes")

    def heard(self) -> None:
        """Nothing depends on it."""


async def track_names(
    connections: StoreLink, prefixes: Sequence[str], changes: NamedChanges, landmark: str
) -> None:
    """Report what changes below `prefixes` until cancelled, on a connection of its own."""
    await tracker_of(
        connections, prefixes, on_keys=changes.keys, listener=changes,
        prepare=at_once, landmark=landmark, on_landmark=lambda value: None,
    ).run()  # fmt: skip
