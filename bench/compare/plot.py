"""CPU per request as bars, one panel per scenario: an SVG without a plotting library. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bench.compare.results import Row, Sample, names, row
from bench.compare.scenarios import BY_NAME

PANEL_WIDTH, BAR_HEIGHT, GAP, TITLE_HEIGHT, COLUMNS = 440, 20, 6, 34, 2
NAME_WIDTH, VALUE_WIDTH = 118, 70
COLOURS = {"hipache": "#c2410c", "hipache-relay": "#fdba74"}
OTHER_COLOUR = "#94a3b8"


def bars(samples: Sequence[Sample]) -> str:
    """The whole picture; each panel has its own scale, bars begin at zero."""
    scenarios = names(each.scenario for each in samples)
    proxies = names(each.proxy for each in samples)
    height = TITLE_HEIGHT + len(proxies) * (BAR_HEIGHT + GAP) + GAP
    lines = -(-len(scenarios) // COLUMNS)
    width, total = PANEL_WIDTH * COLUMNS, lines * height + TITLE_HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {total}" '
        f'width="{width}" height="{total}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{total}" fill="white"/>',
        '<text x="12" y="22" font-size="15" font-weight="bold">'
        "CPU µs of the proxy per request (median; shorter is better)</text>",
    ]
    for index, scenario in enumerate(scenarios):
        rows = [found for proxy in proxies if (found := row(samples, scenario, proxy))]
        x, y = PANEL_WIDTH * (index % COLUMNS), TITLE_HEIGHT + height * (index // COLUMNS)
        parts.append(f'<g transform="translate({x},{y})">{panel(scenario, rows)}</g>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def panel(scenario: str, rows: Sequence[Row]) -> str:
    """One scenario's bars."""
    scale = (PANEL_WIDTH - NAME_WIDTH - VALUE_WIDTH) / max(1e-9, *(each.cpu_us for each in rows))
    title = escape(BY_NAME[scenario].title)
    parts = [f'<text x="12" y="22" font-weight="bold">{title}</text>']
    for index, each in enumerate(rows):
        y = TITLE_HEIGHT + index * (BAR_HEIGHT + GAP)
        length = each.cpu_us * scale
        colour = COLOURS.get(each.proxy, OTHER_COLOUR)
        parts += [
            f'<text x="{NAME_WIDTH - 8}" y="{y + 14}" text-anchor="end">{escape(each.proxy)}'
            "</text>",
            f'<rect x="{NAME_WIDTH}" y="{y}" width="{length:.1f}" height="{BAR_HEIGHT}" '
            f'fill="{colour}"/>',
            f'<text x="{NAME_WIDTH + length + 5:.1f}" y="{y + 14}">{each.cpu_us:,.1f}</text>',
        ]
    return "".join(parts)
