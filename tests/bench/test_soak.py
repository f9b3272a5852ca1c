"""The short form of bench/soak: after requests of every kind the worker is as it was."""

from __future__ import annotations

import subprocess
import sys

from tests.processes import ROOT


def test_requests_of_every_kind_leave_nothing_behind() -> None:
    run = [sys.executable, "-m", "bench.soak", "--requests", "8000", "--batch", "4000"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
