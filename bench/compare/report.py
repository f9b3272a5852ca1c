"""The samples as a page of Markdown and as JSON. Pure but for `write`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from bench.compare import plot
from bench.compare.results import Row, Sample, cpu_ratio, names, row
from bench.compare.scenarios import BY_NAME
from bench.compare.targets import verdicts

RESULTS = Path(__file__).parent / "results"
"""Of the whole comparison."""
PARTIAL = Path(__file__).parent / ".work"
"""Of a quick look: not for the repository."""
COMPARED_WITH = ("nginx", "node-http-proxy")
DISTURBED = 0.05
"""Share of the machine used by others from which on a run says so."""

HEAD = ("proxy", "CPU µs/request", "requests/s", "p50 ms", "p99 ms", "core busy", "errors")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown, the first column to the left and the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def scenario_table(samples: Sequence[Sample], scenario: str) -> str:
    """Every proxy that ran `scenario`, with its ratio to those we compare with."""
    proxies = names(each.proxy for each in samples if each.scenario == scenario)
    references = [name for name in COMPARED_WITH if name in proxies]
    rows = []
    for proxy in proxies:
        figures = row(samples, scenario, proxy)
        assert figures is not None
        ratios = [
            cpu_ratio(samples, (scenario, proxy), (scenario, reference)) for reference in references
        ]
        rows.append([*_cells(figures), *("-" if it is None else f"{it:.2f}" for it in ratios)])
    return table([*HEAD, *(f"÷ {name}" for name in references)], rows)


def _cells(figures: Row) -> list[str]:
    return [
        figures.proxy,
        f"{figures.cpu_us:,.1f}",
        f"{figures.requests_per_second:,.0f}",
        f"{figures.p50_us / 1000:.2f}",
        f"{figures.p99_us / 1000:.2f}",
        f"{figures.busy:.0%}",
        f"**{figures.errors}: not valid**" if figures.errors else "0",
    ]


def targets_table(samples: Sequence[Sample]) -> str:
    """What Hipache has to reach and what it reached; empty if nothing of it was measured."""
    rows = [
        [target.text, f"≤ {target.limit:g}", *_verdict(value, target.limit)]
        for target, value in verdicts(samples)
    ]
    return table(["to reach", "limit", "measured", "reached"], rows) if rows else ""


def _verdict(value: float | None, limit: float) -> tuple[str, str]:
    if value is None:
        return "not valid", "**no**"
    return f"{value:.2f}", "yes" if value <= limit else "**no**"


def disturbance(samples: Sequence[Sample]) -> str:
    """One sentence on what else the machine did."""
    shares = [each.others for each in samples]
    text = f"Other processes used {median(shares):.1%} of the machine (at most {max(shares):.1%})."
    if max(shares) > DISTURBED:
        text += " **Disturbed: not for the record.**"
    return text


def page(samples: Sequence[Sample], facts: Mapping[str, str]) -> str:
    """The whole report as Markdown."""
    parts = ["# What a request costs", *(f"- {name}: {value}" for name, value in facts.items())]
    parts = [parts[0], "\n".join(parts[1:]), disturbance(samples)]
    for scenario in names(each.scenario for each in samples):
        parts += [f"## {BY_NAME[scenario].title}", scenario_table(samples, scenario)]
    if reached := targets_table(samples):
        parts += ["## Targets", reached]
    return "\n\n".join(parts) + "\n"


def write(samples: Sequence[Sample], facts: Mapping[str, str], folder: Path) -> None:
    """`results.md`, `results.json` and `results.svg` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.md").write_text(page(samples, facts))
    data = {"facts": dict(facts), "samples": [asdict(each) for each in samples]}
    (folder / "results.json").write_text(json.dumps(data, indent=1) + "\n")
    (folder / "results.svg").write_text(plot.bars(samples))
