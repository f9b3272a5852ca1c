"""A short form of bench/questions/silent_resolver: one tenant's names get no answer."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.processes import ROOT

RUN = [sys.executable, "-m", "bench.questions.silent_resolver"]


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root, and unshare"
)
@pytest.mark.parametrize("requests", [300, pytest.param(3000, marks=pytest.mark.long)])
def test_the_others_notice_nothing(requests: int) -> None:
    ran = subprocess.run(
        [*RUN, str(requests)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    told = re.findall(r"^ *(\d+) in vain: .* (\d+) of (\d+) failed$", ran.stdout, re.M)
    assert ran.returncode == 0, ran.stderr
    assert [(int(bad), int(failed)) for bad, failed, _ in told] == [(0, 0), (100, 0)]
