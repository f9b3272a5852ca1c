"""The short form of bench/chaos: faults under load hurt nobody who is well, and leave nothing."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from tests.processes import ROOT


@pytest.mark.timeout(400)
def test_chaos_hurts_nobody_who_is_well() -> None:
    seed = str(random.randrange(10**6))  # of pytest-randomly, which tells it
    run = [sys.executable, "-m", "bench.chaos", "--seconds", "40", "--seed", seed]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5000:]
