"""What packaging/ tells Prometheus and Grafana to ask for is what the proxy has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = [
    rule
    for group in yaml.safe_load((ROOT / "packaging/prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((ROOT / "packaging/grafana/hipache.json").read_text())
QUERIES = [rule["expr"] for rule in RULES] + [
    target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]
]


@pytest.mark.parametrize("query", QUERIES)
def test_every_metric_exists(query: str) -> None:
    """By the page, which another test holds against the proxy itself."""
    page = (ROOT / "docs/metrics.md").read_text("utf-8").partition("## All metrics")[2]
    told = {
        name: set(re.findall(r"\w+", labels))
        for names, labels in re.findall(r"^\| (`hipache_.*?) \| (.*?) \|", page, re.M)
        for name in re.findall(r"`(\w+)`", names)
    }
    known = {"le", "instance"}.union(*told.values())
    for name in re.findall(r"hipache_\w+", query):
        assert name.removesuffix("_bucket") in told, name
    for labels in re.findall(r"by \(([^)]*)\)", query):
        assert set(re.findall(r"\w+", labels)) <= known, labels
    assert query.count("(") == query.count(")")


def test_every_alert_tells_what_happened() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES) >= 10
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert len(rule["annotations"]["summary"]) > 10


def test_prometheus_reads_the_example_and_alerts_as_expected(tmp_path: Path) -> None:
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool is not there: Debian's package prometheus has it")
    shutil.copytree(ROOT / "packaging/prometheus", tmp_path, dirs_exist_ok=True)
    (tmp_path / "hipache.token").write_text("secret")
    subprocess.run([promtool, "check", "config", tmp_path / "prometheus.yml"], check=True)
    expected = Path(__file__).parent / "alerts_test.yml"
    subprocess.run([promtool, "test", "rules", expected], check=True)
