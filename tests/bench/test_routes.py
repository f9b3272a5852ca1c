"""Short forms of bench/questions/routes, checks and million."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.processes import ROOT


@pytest.mark.parametrize(
    "what",
    [
        pytest.param("routes hot --requests 2000", id="a hot route costs Redis no command"),
        pytest.param("checks --backends 20 --seconds 1 --rounds 1", id="checks beside traffic"),
        pytest.param(
            "million --frontends 300 --certificates 3 --only export", id="a table of a million"
        ),
    ],
)
def test_what_routes_and_checks_cost_can_be_measured(what: str) -> None:
    module, *words = what.split(" ")
    run = [sys.executable, "-m", f"bench.questions.{module}", *words]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
