"""The short forms of what bench/workers.py measures: it runs, and nobody notices."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.processes import ROOT


@pytest.mark.parametrize(
    "what",
    [
        pytest.param("replace --requests 500 --recycles 1 --reloads 1", id="replacing"),
        pytest.param("leak --leaks 330 --rate 100", id="a leak stays near its limit"),
        pytest.param("chaos --seconds 3", id="a killed worker takes only its own along"),
    ],
)
def test_nobody_notices_that_workers_come_and_go(what: str) -> None:
    run = [sys.executable, "-m", "bench.workers", *what.split(" ")]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
