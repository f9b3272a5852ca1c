"""What bench/questions/workers.py measures, in short and with --long in full: nobody notices."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.machines import quietly
from tests.processes import ROOT

LONG = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    "what",
    [
        pytest.param("replace --requests 500 --recycles 1 --reloads 1", id="replacing"),
        pytest.param("leak --leaks 330 --rate 100", id="a leak stays near its limit"),
        pytest.param("chaos --seconds 3", id="a killed worker takes only its own along"),
        pytest.param("stop", id="a stop under load"),
        pytest.param("chaos --seconds 60", id="chaos for a minute", marks=LONG),
        pytest.param("replace", id="200,000 requests", marks=LONG),
        pytest.param("start", id="two workers answer within 1.5 s", marks=LONG),
    ],
)
def test_nobody_notices_that_workers_come_and_go(what: str) -> None:
    run = [sys.executable, "-m", "bench.questions.workers", *what.split(" ")]
    if what == "start":
        run[:0] = quietly()
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
