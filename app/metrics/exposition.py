"""The numbers in Prometheus's text format 0.0.4, or in OpenMetrics 1.0."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from .families import (
    BAD,
    BYTES_IN,
    BYTES_OUT,
    COUNTER,
    COUNTERS,
    DURATION,
    GAUGE,
    GAUGES,
    HEAD,
    HISTOGRAM,
    HISTOGRAMS,
    METHOD_CLASSES,
    PER_WORKER,
    PREFIX,
    STATUS_CLASSES,
    UNANSWERED,
    Family,
)
from .folder import Sum

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def escaped(label: str) -> str:
    r"""A label's value.

    >>> escaped('a"b\n')
    'a\\"b\\n'
    """
    clean = label if label.isascii() else label.encode("utf-8", "replace").decode()
    return clean.translate(_ESCAPED)


def number(value: float) -> str:
    """
    >>> number(3.0), number(0.25)
    ('3', '0.25')
    """
    return str(int(value)) if value == int(value) else repr(value)


class Exposition:
    """Writes families one after the other; every method yields pieces of a few lines."""

    def __init__(self, bounds: Sequence[float], *, openmetrics: bool = False) -> None:
        self._openmetrics = openmetrics
        self._ends = [*(repr(float(bound)) for bound in bounds), "+Inf"]
        self._buckets = len(self._ends)

    def head(self, family: Family, kind: str, prefix: str = PREFIX) -> str:
        """The two lines that begin a family: in the older format with a counter's ending."""
        name = prefix + family.name
        if kind == "counter" and not self._openmetrics:
            name += "_total"
        text = family.help.replace("\\", r"\\").replace("\n", r"\n")
        return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"

    def counter(
        self, family: Family, values: Iterable[tuple[str, float]], prefix: str = PREFIX
    ) -> Iterator[str]:
        """`values` are pairs of labels, written out, and a number."""
        yield self.head(family, "counter", prefix)
        name = f"{prefix}{family.name}_total"
        for labels, value in values:
            yield f"{name}{{{labels}}} {number(value)}\n" if labels else f"{name} {number(value)}\n"

    def gauge(
        self, family: Family, values: Iterable[tuple[str, float]], prefix: str = PREFIX
    ) -> Iterator[str]:
        """The same for a state, which goes up and down."""
        yield self.head(family, "gauge", prefix)
        name = prefix + family.name
        for labels, value in values:
            yield f"{name}{{{labels}}} {number(value)}\n" if labels else f"{name} {number(value)}\n"

    def histogram(
        self, family: Family, values: Iterable[tuple[str, array[float]]], prefix: str = PREFIX
    ) -> Iterator[str]:
        """`values` are labels and cells: the sum, then one cell for each bucket."""
        yield self.head(family, "histogram", prefix)
        name = prefix + family.name
        for labels, cells in values:
            if len(cells) != self._buckets + 1:
                continue  # counted with the buckets of an earlier configuration
            within = f"{name}_bucket{{{labels}," if labels else f"{name}_bucket{{"
            around = f"{{{labels}}}" if labels else ""
            counts = [int(count) for count in accumulate(cells[1:])]
            lines = [
                f'{within}le="{end}"}} {count}\n'
                for end, count in zip(self._ends, counts, strict=True)
            ]
            yield (
                "".join(lines)
                + f"{name}_count{around} {counts[-1]}\n{name}_sum{around} {cells[0]!r}\n"
            )

    def end(self) -> str:
        return "# EOF\n" if self._openmetrics else ""


def frontends(out: Exposition, shown: Mapping[str, array[float]]) -> Iterator[str]:
    """The families of each frontend; requests without one have an empty label."""
    labelled = [(f'frontend="{escaped(key)}"', cells) for key, cells in shown.items() if cells]
    after = DURATION + out._buckets + 1  # where the cells of its backends begin
    classes = [
        f',status="{status}",method="{method}"'
        for status in STATUS_CLASSES
        for method in METHOD_CLASSES
    ]
    yield from out.counter(
        Family("requests", "Requests that have ended, by the class of their status and method."),
        (
            (label + each, count)
            for label, cells in labelled
            for each, count in zip(classes, cells[:BYTES_IN], strict=True)
            if count
        ),
    )
    for index, name, text in (
        (BYTES_IN, "request_bytes", "Bytes of requests' bodies."),
        (BYTES_OUT, "response_bytes", "Bytes of answers' bodies."),
    ):
        yield from out.counter(
            Family(name, text), ((label, cells[index]) for label, cells in labelled)
        )
    yield from out.histogram(
        Family(
            "request_duration_seconds", "Time from a request's head to the last byte of its answer."
        ),
        ((label, cells[DURATION:after]) for label, cells in labelled),
    )
    reached = [(label, cells[after:]) for label, cells in labelled if len(cells) > after]
    yield from out.counter(
        Family("attempts", "Attempts at backends."),
        ((label, cells[UNANSWERED] + sum(cells[HEAD + 1 :])) for label, cells in reached),
    )
    yield from out.counter(
        Family("attempts_failed", "Attempts without an answer, or with one that was 5xx or cut."),
        ((label, cells[UNANSWERED] + cells[BAD]) for label, cells in reached),
    )
    yield from out.histogram(
        Family("time_to_head_seconds", "From the start of an attempt to the head of its answer."),
        ((label, cells[HEAD:]) for label, cells in reached),
    )


def proxy(out: Exposition, total: Sum) -> Iterator[str]:
    """The families of the whole proxy, and the states of its workers."""
    found: dict[tuple[str, str], list[tuple[list[str], array[float]]]] = {}
    for kind in (COUNTER, GAUGE, HISTOGRAM):
        for name in total.blocks.of_kind(kind):
            _, called, *labels = name.split("\0")
            found.setdefault((kind, called), []).append((labels, total.blocks[name]))
    for key, family in COUNTERS.items():
        values = found.get((COUNTER, key), [])
        if not values and not family.labels:
            values = [([], array("d", [0]))]
        yield from out.counter(family, ((_labels(family, v), cells[0]) for v, cells in values))
    for key, family in HISTOGRAMS.items():
        yield from out.histogram(family, (("", c) for _, c in found.get((HISTOGRAM, key), [])))
    for key, family in GAUGES.items():
        yield from out.gauge(
            family, ((_labels(family, v), c[0]) for v, c in found.get((GAUGE, key), []))
        )
    yield from out.gauge(Family("workers", "Workers that run."), [("", len(total.workers))])
    for key, family in PER_WORKER.items():
        yield from out.gauge(
            family,
            (
                (_labels(family, [_worker(page.info)]), page.blocks[f"{GAUGE}\0{key}"][0])
                for page in total.workers
                if f"{GAUGE}\0{key}" in page.blocks
            ),
        )


def _worker(info: Mapping[str, object]) -> str:
    """A worker's number and pid: two have the same number while one replaces the other."""
    return f"{info.get('worker', 0)}-{info['pid']}"


def _labels(family: Family, values: Sequence[str]) -> str:
    return ",".join(
        f'{name}="{escaped(value)}"' for name, value in zip(family.labels, values, strict=True)
    )


PLANB = "planb_"


def planb(out: Exposition, total: Sum, shown: Mapping[str, array[float]]) -> Iterator[str]:
    """The same under the names that tsuru/planb 0.1.15 gave them (reverseproxy/native.go)."""
    after = DURATION + out._buckets + 1
    connections = total.blocks.get(f"{GAUGE}\0connections", array("d", [0]))
    yield from out.gauge(
        Family(
            "reverseproxy_connections_current_open",
            "The current number of open connections excluding hijacked ones.",
        ),
        [("", connections[0])],
        PLANB,
    )
    for name, text, part in (
        ("http_request", "The total HTTP request latencies in seconds.", slice(DURATION, after)),
        (
            "backend_request",
            "The backends HTTP request latencies in seconds.",
            slice(after + HEAD, None),
        ),
    ):
        columns = [cells[part] for cells in shown.values() if cells[part]]
        summed = [("", array("d", map(sum, zip(*columns, strict=True))))] if columns else []
        yield from out.histogram(
            Family(f"reverseproxy_{name}_duration_seconds", text), summed, PLANB
        )
    counted = list(total.blocks.of_kind(COUNTER))
    statuses = [
        (f'status_code="{name.rpartition(chr(0))[2]}"', total.blocks[name][0])
        for name in counted
        if name.startswith(f"{COUNTER}\0statuses\0")
    ]
    yield from out.counter(
        Family("reverseproxy_backends_responses", "The total backends responses by status code."),
        statuses,
        PLANB,
    )
    marks = sum(total.blocks[name][0] for name in counted if name.startswith(f"{COUNTER}\0marks\0"))
    yield from out.counter(
        Family("router_backend_markdead", "The total number of backend mark dead occurencies."),
        [("", marks)],
        PLANB,
    )
