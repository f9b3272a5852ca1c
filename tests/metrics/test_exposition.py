"""What Prometheus reads, by Prometheus' own parsers."""

from __future__ import annotations

import asyncio
import re
from array import array
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text

from app.metrics.blocks import StoredBlocks, SummedBlocks
from app.metrics.by_backend import MAX_UP, backends, up
from app.metrics.counters import Counters
from app.metrics.exposition import Exposition, frontends, planb, proxy
from app.metrics.families import COUNTERS, GAUGES, HISTOGRAMS, OTHER, PER_WORKER, PREFIX
from app.metrics.folder import Sum
from app.metrics.page import Page
from app.metrics.shown import shown, shown_backends
from tests.metrics.test_counters import URL, request

BOUNDS = (0.1, 1.0)
HOSTILE = ['a"b', "a\\b", "a\nb", 'x"} 1\n# EOF\n', "\\", "ünïcode", "*", "", "\x00\x1f"]


def counted() -> Sum:
    page = Page({"pid": 1, "worker": 1})
    counters = Counters(page, BOUNDS, statuses=True)
    for key in HOSTILE:
        counters.ended(*request(key, bytes_out=3, head_time=0.05, total_time=0.5, connect_time=0.2))
        counters.ended(*request(key, 502, "POST", bytes_in=2, total_time=5.0))
    for family, each in COUNTERS.items():
        counters.count(family, *(HOSTILE[0] for _ in each.labels))
    for family in HISTOGRAMS:
        counters.observe(family, 0.3)
    for family in [*GAUGES, *PER_WORKER]:
        counters.gauge(family, 1.5)
    content = page.read()
    return Sum(SummedBlocks([content.blocks]), [content], content.texts)


@pytest.fixture(params=["text", "openmetrics"])
def families(request):
    out = Exposition(BOUNDS, openmetrics=request.param == "openmetrics")
    total = counted()
    chosen = asyncio.run(shown(total, None))
    named = asyncio.run(shown_backends(total, None))
    pieces = [
        *frontends(out, chosen), *backends(out, named),
        *up(out, [(key, URL, key != "*") for key in HOSTILE]),
        *proxy(out, total), *planb(out, total, chosen), out.end(),
    ]  # fmt: skip
    parse = openmetrics if request.param == "openmetrics" else text
    return {family.name: family for family in parse("".join(pieces).encode().decode())}


def test_every_metric_is_there(families):
    names = {PREFIX + f.name for table in (COUNTERS, HISTOGRAMS, GAUGES, PER_WORKER)
             for f in table.values()}  # fmt: skip
    assert names <= families.keys()
    assert all(families[name].samples for name in names)


def test_no_label_can_break_out(families):
    labels = {s.labels["frontend"] for s in families["hipache_requests"].samples}
    assert labels == set(HOSTILE)


def test_the_arithmetic_is_right(families):
    values = {
        (s.labels["status"], s.labels["method"]): s.value
        for s in families["hipache_requests"].samples
        if s.labels["frontend"] == "*"
    }
    assert values == {("2xx", "read"): 1, ("5xx", "write"): 1}
    buckets = {
        s.labels.get("le", s.name.rpartition("_")[2]): s.value
        for s in families["hipache_request_duration_seconds"].samples
        if s.labels["frontend"] == "*"
    }
    assert buckets == {"0.1": 0, "1.0": 1, "+Inf": 2, "count": 2, "sum": 5.5}


@pytest.mark.parametrize("name", ["requests", "errors", "evidence", "latency_seconds"])
def test_a_backend_has_its_own_numbers(families, name):
    values = {
        s.labels["backend"]: s.value
        for s in families[f"hipache_backend_{name}"].samples
        if s.labels["frontend"] == "*" and s.name.rpartition("_")[2] in ("total", "count")
    }
    assert values == {URL: 0 if name in ("errors", "evidence") else 1}


def test_one_backend_is_not_up(families):
    values = {s.labels["frontend"]: s.value for s in families["hipache_backend_up"].samples}
    assert values == {key: float(key != "*") for key in HOSTILE}


def test_of_many_backends_those_that_are_down_are_named():
    many = [(str(number), URL, number != MAX_UP) for number in range(MAX_UP + 1)]
    lines = "".join(up(Exposition(BOUNDS), many)).splitlines()
    assert len(lines) == 2 + MAX_UP
    assert lines[2] == f'hipache_backend_up{{frontend="{MAX_UP}",backend="{URL}"}} 0'


def test_planb_reads_its_own_names(families):
    codes = {
        s.labels["status_code"]: s.value
        for s in families["planb_reverseproxy_backends_responses"].samples
    }
    assert codes["200"] == codes["502"] == len(HOSTILE)
    for name in (
        "planb_reverseproxy_http_request_duration_seconds",
        "planb_reverseproxy_backend_request_duration_seconds",
        "planb_reverseproxy_connections_current_open",
        "planb_router_backend_markdead",
    ):
        assert families[name].samples, name


def test_other_buckets_of_an_older_configuration_are_left_out():
    out = Exposition(BOUNDS)
    total = counted()
    whole = {**total.blocks, "h\0connect": array("d", [1.0, 2.0])}
    total.blocks = SummedBlocks([StoredBlocks({k: v.tobytes() for k, v in whole.items()})])
    chosen = {OTHER: array("d")}
    pieces = "".join([*frontends(out, chosen), *proxy(out, total)])
    assert "hipache_connect_seconds_bucket" not in pieces


def test_the_page_tells_every_metric_and_no_other(families):
    page = (Path(__file__).parents[2] / "docs/metrics.md").read_text("utf-8")
    kinds = {
        PREFIX + name
        for name in (
            "backends",
            "certificate_expiry_timestamp_seconds",
            "certificate_retry_timestamp_seconds",
        )
    }
    there = {
        f"{name}_total" if family.type == "counter" else name for name, family in families.items()
    } | kinds
    assert set(re.findall(r"`((?:hipache|planb)_\w+)`", page)) == there
