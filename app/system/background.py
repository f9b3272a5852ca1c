"""The background tasks of one object: named, logged when they fail, cancelled together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

logger = logging.getLogger(__name__)


class Background:
    """The tasks of one owner."""

    def __init__(self, failed: Callable[[str], None]) -> None:
        """`failed` is called, after the log, when a task ended with an unforeseen error."""
        self._failed = failed
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work` beside everything else."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s failed", task.get_name(), exc_info=error)
            self._failed(f"{task.get_name()} failed: {error}")

    async def aclose(self) -> None:
        """Cancel all tasks and wait for their end."""
        while self._tasks:
            # Again and again: Python 3.11's wait_for, inside redis-py, may swallow a cancellation.
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=0.1)
