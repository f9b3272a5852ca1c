"""The page of every name: keys, options, fields and metrics, and where each is explained.

The names are those of the code, so that none can be forgotten: one that no table of its page
explains stops the build.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from app.config.structs import Config, HealthCheck, ServerConfig, render
from app.frontends.option_names import ACCESS, LIMITS, MAINTENANCE, OF_ALL, OF_ONE
from app.logs.access_fields import WRITTEN
from app.metrics.families import COUNTERS, GAUGES, HISTOGRAMS, PER_WORKER, PREFIX

DOCS = Path(__file__).parents[2] / "docs"

HEAD = """\
# Every name

What a configuration, a frontend, a line of the access log and a scrape may have in them, and where
each is explained in full. [Commands](commands.md) and their options have a page of their own.
"""
CODE = re.compile(r"`([^`]+)`")
OF_NAMES = {"key", "field", "option", "metric"}
"""What the first column of a table of names is called."""


def names() -> str:
    """The page. Raises LookupError for a name that no table explains."""
    metrics = [
        *(f"{PREFIX}{each.name}_total" for each in COUNTERS.values()),
        *(PREFIX + each.name for t in (HISTOGRAMS, GAUGES, PER_WORKER) for each in t.values()),
    ]
    options = [*ACCESS, *LIMITS, *MAINTENANCE, *OF_ALL, *(f"{name}:URL" for name in OF_ONE)]
    pages = ["protection", "wake", "tls", "acme", "paths", "http2", "balancing"]
    parts = [
        _part("Keys of the configuration", _keys(), ["configuration"]),
        _part("Options of a frontend", options, pages),
        _part("Fields of the access log", WRITTEN, ["logs"]),
        _part("Metrics", metrics, ["metrics"]),
    ]
    return "\n".join([HEAD, *(line for part in parts for line in part)])


def _keys() -> list[str]:
    """Every key, as its table has it: an entry of `bind` is not written out there."""
    everything = Config(server=ServerConfig(), health_check=HealthCheck())
    return sorted({*_flat(json.loads(render(everything)), "")})


def _flat(value: object, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}".removeprefix("."))
    else:
        yield path


class Row(NamedTuple):
    """What a table says of a name."""

    meaning: str
    link: str
    alone: bool
    """Whether the row is of this name only."""


def _part(title: str, wanted: Iterable[str], pages: list[str]) -> Iterator[str]:
    rows: dict[str, list[Row]] = defaultdict(list)
    for page in pages:
        for name, row in _explained(page):
            rows[name].append(row)
    yield f"## {title}\n\n| name | meaning | page |\n|---|---|---|"
    for name in sorted(wanted, key=str.casefold):
        if not rows[name]:
            raise LookupError(f"{name}: no table of {', '.join(pages)} explains it")
        best = max(rows[name], key=lambda row: row.alone)  # the first one, if there are several
        links = dict.fromkeys([best.link, *(row.link for row in rows[name])])
        yield f"| `{name}` | {best.meaning} | {', '.join(links)} |"
    yield ""


def _explained(page: str) -> Iterator[tuple[str, Row]]:
    """Each name in the first column of a table."""
    from pymdownx.slugs import slugify  # only the build has it

    slug, title, anchor, column, of_names = slugify(case="lower"), "", "", 1, False
    for line in (DOCS / f"{page}.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if line.startswith("#"):
            heading = line.lstrip("# ").replace("`", "")
            title, anchor = title or heading, f"#{slug(heading, '-')}"
        elif cells and not (CODE.search(cells[0]) or set(cells[0]) <= set("-: ")):
            of_names = cells[0] in OF_NAMES
            column = cells.index("meaning") if "meaning" in cells else 1
        elif cells and of_names and CODE.search(cells[0]):
            names = CODE.findall(cells[0])
            meaning = cells[column].replace("](#", f"]({page}.md#")
            link = f"[{title}]({page}.md{anchor})"
            yield from ((name, Row(meaning, link, len(names) == 1)) for name in names)
