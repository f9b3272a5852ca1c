"""Checks at the start that a log can be opened, and gives its file to the right user."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from .log_target import LogTarget
from .sinks import FileSink, open_sink


def why_closed(target: LogTarget) -> str:
    """Why this process cannot open the log; empty if it can. Makes the log's folder and file.

    A pipe whose reader has not come yet is no reason.
    """
    sink = open_sink(target)
    sink.reopen()
    sink.close()
    with suppress(OSError):
        if isinstance(sink, FileSink) and sink.path.is_fifo():
            return ""
    return sink.fault


def hand_over(target: LogTarget, uid: int, gid: int) -> None:
    """Give a log's file to the user who will write it; for root, before it becomes that user.

    A folder that is made here is given away too, so that the user can begin a new
    file after a rotation. Raises OSError.
    """
    sink = open_sink(target)
    if not isinstance(sink, FileSink):
        return
    if not sink.path.parent.exists():
        sink.path.parent.mkdir(parents=True)
        os.chown(sink.path.parent, uid, gid)
    # The user may own the folder, and may have put a link to a file of root's there: do not give
    # that file away.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    fd = os.open(sink.path, flags, 0o644)
    try:
        there = os.fstat(fd)
        if stat.S_ISREG(there.st_mode) and there.st_nlink == 1:
            os.fchown(fd, uid, gid)
    finally:
        os.close(fd)
