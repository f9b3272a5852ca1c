"""A short form of bench/questions/slow_readers: a siege of 20 addresses, of either kind."""

import re
import subprocess
import sys

from tests.processes import ROOT

RUN = [sys.executable, "-m", "bench.questions.slow_readers", "--seconds", "0.5"]


def test_no_visitor_fails_beside_clients_that_do_nothing() -> None:
    ran = subprocess.run(
        [*RUN, "--addresses", "20"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    told = re.findall(r"20 addresses (\w+) nothing: .* (\d+) of \d+ failed$", ran.stdout, re.M)
    assert told == [("read", "0"), ("send", "0")], ran.stdout + ran.stderr
