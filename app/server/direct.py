"""What serves an exchange without a task."""

from __future__ import annotations

from typing import Protocol


class Direct(Protocol):
    """Serves an exchange without a task."""

    def client_gone(self) -> None:
        """The client has gone."""

    def hand_over(self) -> None:
        """Give it a task: the server is about to stop, and waits for tasks."""
