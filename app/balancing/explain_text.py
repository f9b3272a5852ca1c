"""An explanation as lines for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ..masking import printable
from .explain import BackendState, Explanation


def ago(seconds: float) -> str:
    """A duration for people.

    >>> ago(59.6), ago(3725)
    ('60 s', '1 h 2 min')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def as_text(found: Explanation, *, now: float) -> Iterator[str]:
    """One line for each step. What stands in a store must not write to a terminal what it likes."""
    return map(printable, _lines(found, now))


def _lines(found: Explanation, now: float) -> Iterator[str]:
    yield f"host      {found.host}"
    for key in found.tried:
        yield f"          frontend:{key}  none"
    if found.matched is None:
        yield f"answer    {found.why}"
        yield from _remarks(found)
        return
    yield f"matched   frontend:{found.matched}  {found.identifier}"
    if found.prefix:
        yield f"prefix    {found.prefix}" + (", which the backend does not see" * found.strips)
    yield f"policy    {found.policy}" + (
        f", sticky by cookie {found.sticky}" if found.sticky else ""
    )
    http2 = ("spoken to backends of h2c",) * found.h2c + (
        "offered to backends with TLS",
    ) * found.http2
    if http2:
        yield f"http2     {', '.join(http2)}"
    if found.wake:
        yield f"wake      {found.wake}"
    for guard in found.guards:
        yield f"guard     {guard}"
    yield from _remarks(found)
    width = max((len(state.url) for state in found.backends), default=0)
    for state in found.backends:
        yield f"backend {state.index:<2}{state.url:{width}}  {_described(state, now)}"
    yield f"choice    {', '.join(map(_share, found.choice, found.shares.values())) or 'none'}"
    yield f"why       {found.why}"


def _remarks(found: Explanation) -> Iterator[str]:
    return (f"remark    {remark}" for remark in found.remarks)


def _share(url: str, share: float) -> str:
    return url if share == 1 else f"{url} {share:.1%}"


def _described(state: BackendState, now: float) -> str:
    parts = [state.state]
    if state.state != "unusable":
        parts.append(f"weight {state.weight:g}")
        parts.append(f"in flight {'?' if state.in_flight is None else state.in_flight}")
    if state.since is not None:
        parts.append(f"since {ago(now - state.since)}")
        if state.until is not None and state.until > now:
            parts.append(f"for {ago(state.until - now)} more")
        parts.append(f"failures {state.failures}")
        parts.append(f"by {state.by}")
    if state.reason:
        parts.append(state.reason)
    return ", ".join(parts)
