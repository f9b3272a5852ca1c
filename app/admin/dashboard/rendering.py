"""Pages from templates, with figures as people read them."""

from __future__ import annotations

from functools import cache
from math import isinf
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ...balancing.explain_text import ago
from ...masking import printable
from ...proxy.error_pages import templates_directory
from ...recorder.telling import clock, ending, says, took, url_of
from ...system.turns import in_turns


def folder() -> Path:
    """Where the templates are, and the style and the script beside them."""
    return templates_directory() / "dashboard"


@cache
def environment() -> Environment:
    """Every value is escaped, and a name that is not there is an error."""
    found = Environment(
        loader=FileSystemLoader(folder()), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip
    found.filters |= {
        "ago": ago, "clock": clock, "count": count, "ending": ending, "mib": mib,
        "plain": printable, "rate": rate, "says": says, "span": span, "url_of": url_of,
    }  # fmt: skip
    found.globals["link"] = link
    return found


async def render(template: str, context: dict[str, Any]) -> str:
    """A page, or with `fragment` in the context its changing part alone.

    Other tasks run meanwhile: a long list takes milliseconds.
    """
    pieces = environment().get_template(template).generate(context)
    return "".join([piece async for piece in in_turns(pieces)])


def link(path: str, **query: object) -> str:
    """A path of the dashboard with its query; values that say nothing are left out.

    >>> link("/frontend", key="a.test/x y", page="")
    '/frontend?key=a.test%2Fx+y'
    """
    given = {name: value for name, value in query.items() if value not in ("", None, False)}
    return f"{path}?{urlencode(given)}" if given else path


def rate(value: float) -> str:
    """Per second.

    >>> rate(0.0), rate(0.04), rate(12.34), rate(15_300.0)
    ('0', '0.04', '12.3', '15,300')
    """
    if value == 0:
        return "0"
    if value < 0.1:
        return f"{value:.2g}"
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def span(seconds: float | None) -> str:
    """A latency; a dash where there was no request.

    >>> span(0.25), span(float("inf"))
    ('250 ms', 'very long')
    """
    if seconds is None:
        return "\N{EN DASH}"
    return "very long" if isinf(seconds) else took(seconds)


def count(value: float) -> str:
    """
    >>> count(1234567)
    '1,234,567'
    """
    return f"{value:,.0f}"


def mib(size: float) -> str:
    """Bytes.

    >>> mib(73_400_320)
    '70 MB'
    """
    return f"{size / (1 << 20):.0f} MB"
