"""A story in plain words. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from ..frontends.site import host_of
from ..health import Outcome, Verdict
from ..masking import printable
from .stories import Kind, Story, Try

LEFT = 499
SHOWN_FROM = 0.001
"""Seconds from which a wait in the queue is told."""

_SAYS = {
    Verdict.DEAD: ", so it is taken for dead",
    Verdict.EVIDENCE: ", which is evidence against it",
}


def told(story: Story) -> Iterator[str]:
    """One line for the request, one for where it came from, one for each attempt, and the end.

    What a client has sent must not write to a terminal what it likes.
    """
    return map(printable, _lines(story))


def _lines(story: Story) -> Iterator[str]:
    yield f"{story.method} {url_of(story)}  {ending(story)}"
    where = [f"at {clock(story.at)}", f"client {story.client or 'unknown'}"]
    where.append(f"HTTP/{story.http_version}" + (f" over {story.tls}" if story.tls else ""))
    where.append(f"frontend {story.frontend}" if story.frontend else "no frontend")
    where.append(f"worker {story.worker} ({story.proxy})")
    yield f"  {', '.join(where)}"
    for number, each in enumerate(story.tries, 1):
        yield f"  {number}. {each.backend}  {_attempt(each)}"
    if not story.tries:
        yield "  no backend was asked"
    if story.error:
        yield f"  why: {story.error}"


def row(story: Story) -> list[str]:
    """A story in one row: when, id, status, request, last backend, why."""
    last = story.tries[-1] if story.tries else None
    why = story.error or (last.cause if last is not None else "")
    status = str(story.status or "-")
    return [
        printable(text)
        for text in (
            clock(story.at), story.id, status, f"{story.method} {url_of(story)}",
            last.backend if last is not None else "-", why,
        )
    ]  # fmt: skip


def is_of(story: Story, host: str) -> bool:
    """Whether a request asked for this host, or matched this frontend or a prefix of it."""
    asked = story.host.partition(":")[0].lower()
    return host in {story.frontend, host_of(story.frontend), asked}


def url_of(story: Story) -> str:
    """What the client asked for."""
    return f"{story.scheme}://{story.host or '(no host)'}{story.target}"


def ending(story: Story) -> str:
    """How it ended, and when."""
    after = f"after {took(story.seconds)}"
    if story.status == LEFT:
        return f"the client left {after}"
    if story.status == 101:
        by = f", closed by the {story.closed_by}" if story.closed_by else ""
        code = f" with {story.close_code}" if story.close_code is not None else ""
        broke = ", broken" if story.kind == Kind.FAILED else ""
        return f"WebSocket{broke} {after}{by}{code}"
    if story.error and story.status < 400:
        return f"{story.status}, cut {after} and {story.bytes_out:,} bytes"
    return f"{story.status} {after}"


def took(seconds: float) -> str:
    """A short duration with its unit.

    >>> took(0.00042), took(0.25), took(3.017), took(125)
    ('0.42 ms', '250 ms', '3.02 s', '125 s')
    """
    if seconds < 1:
        return f"{seconds * 1000:.2g} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:.0f} s"


def clock(at: float) -> str:
    """A time of day for people, in UTC as in the log."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _attempt(each: Try) -> str:
    times = []
    if each.queue is not None and each.queue >= SHOWN_FROM:
        times.append(f"waited {took(each.queue)} for a free connection")
    if each.connect is not None:
        times.append(f"connected in {took(each.connect)}")
    if each.head is not None:
        times.append(f"head after {took(each.head)}")
    if each.outcome == Outcome.ANSWERED:
        return ", ".join([f"answered with {each.cause}", *times, f"end after {took(each.total)}"])
    times.insert(0, f"after {took(each.total)}")
    cause = f": {each.cause}" if each.cause and each.cause != each.outcome else ""
    return f"{each.outcome} {', '.join(times)}{cause}{says(each)}"


def says(each: Try) -> str:
    """What an attempt says about its backend, behind a comma; empty for nothing."""
    return _SAYS.get(Verdict(each.says), "")
