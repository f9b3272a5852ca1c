"""The memory in which workers tell each other how much they have."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from app.server.shared_loads import SharedLoads, one_more
from tests.processes import ROOT

ENVIRON = os.environ | {"PYTHONPATH": str(ROOT)}

A_KILLED_WORKER = """
import os, signal
from app.server.shared_loads import SharedLoads
loads = SharedLoads()
ours = loads.take_row()
pid = os.fork()
if not pid:
    loads.counts[loads.take_row()] = 5
    signal.pause()
while not loads.counts[1] == 5:
    pass
print(loads.others(ours), end=" ")
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
print(loads.others(ours), loads.counts[1])
"""

WHERE_IT_IS_REFUSED = """
import os, resource
from app.server.shared_loads import SharedLoads
before = len(os.listdir("/proc/self/fd"))
_, most = found = resource.getrlimit(resource.%s)
resource.setrlimit(resource.%s, (%d, most))
print(SharedLoads.made())
resource.setrlimit(resource.%s, found)
print(len(os.listdir("/proc/self/fd")) - before)
"""


def test_a_killed_worker_has_no_row_any_more() -> None:
    argv = [sys.executable, "-c", A_KILLED_WORKER]
    assert subprocess.check_output(argv, env=ENVIRON, text=True) == "[1] [] 0\n"


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        pytest.param("RLIMIT_NOFILE", 3, id="no such file"),
        pytest.param("RLIMIT_FSIZE", 100, id="a file that cannot grow"),
    ],
)
def test_workers_do_without_where_the_system_refuses_it(limit: str, value: int) -> None:
    argv = [sys.executable, "-c", WHERE_IT_IS_REFUSED % (limit, limit, value, limit)]
    found = subprocess.run(argv, env=ENVIRON, text=True, check=True, capture_output=True)
    assert found.stdout == "None\n0\n"
    assert found.stderr.count("workers do not share connections evenly cause=") == 1


def test_what_came_lately_halves_each_second() -> None:
    three = one_more(one_more(one_more(0.0, 5000.0), 5000.0), 5000.0)
    assert 2 ** (three - 5000.0) == pytest.approx(3)
    assert 2 ** (one_more(three, 5001.0) - 5001.0) == pytest.approx(2.5)
    assert one_more(three, 1e6) == 1e6


def test_a_new_worker_counts_as_one_that_took_as_many_as_any() -> None:
    loads = SharedLoads()
    loads.lately[7] = 8.5
    row = loads.take_row()
    assert row is not None
    assert (loads.counts[row], loads.away[row], loads.lately[row]) == (1, 0, 8.5)
    loads.give_back(row)
    assert (loads.counts[row], loads.away[row]) == (0, 1)
