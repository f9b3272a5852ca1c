"""The short form of bench/scale: every worker is told of every change, also after faults."""

import re
import subprocess
import sys

from tests.processes import ROOT

FAULTS = "failover,outage,flushall"


def test_every_worker_of_a_fleet_is_told_of_every_change() -> None:
    run = [sys.executable, "-m", "bench.scale", "--proxies", "3", "--frontends", "10000"]
    run += ["--seconds", "0.5", "--real", "4", "--changes", "50", "--faults", FAULTS]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^ +3 +24 .* 0$", done.stdout, re.MULTILINE), done.stdout
    assert "outage: 20 simulated workers were back" in done.stdout
    assert "failover: the replica was promoted" in done.stdout
    assert "flushall: 10000 frontends" in done.stdout
    assert " 0 of them not" in done.stdout


def test_a_fault_that_it_does_not_know_is_named() -> None:
    run = [sys.executable, "-m", "bench.scale", "--faults", "flood"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "no such fault: flood" in done.stderr) == (2, True)
