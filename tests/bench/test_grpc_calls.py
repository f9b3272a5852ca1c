"""Short forms of bench/questions/grpc_calls: streams that are held open, and calls at a rate."""

import re
import subprocess
import sys

import pytest

from tests.processes import ROOT

RUN = [sys.executable, "-m", "bench.questions.grpc_calls"]


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["held", "--streams", "60"], [r"held +60 streams at once: -?[\d.]+ KiB each"]),
        pytest.param(
            ["latency", "--rounds", "1", "--count", "500"],
            [
                r"latency +the whole way does \d+ calls/s",
                r"latency +direct +\d+ calls/s: p50 [\d.]+ ms, p99 [\d.]+ ms",
                r"latency +hipache +\d+ calls/s: p50 [\d.]+ ms, p99 [\d.]+ ms",
                r"latency +p99 through the proxy: [+-][\d.]+ ms \(medians of 1\)",
            ],
            marks=pytest.mark.long,
        ),
    ],
)
def test_what_it_prints(words: list[str], lines: list[str]) -> None:
    ran = subprocess.run([*RUN, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert re.fullmatch("\n".join([*lines, ""]), ran.stdout), ran.stdout + ran.stderr
