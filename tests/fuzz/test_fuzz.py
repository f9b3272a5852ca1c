"""A moment of each target, and what was found once."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys

import pytest

from tests.fuzz.__main__ import TARGETS, load
from tests.fuzz.mutate import mutations
from tests.processes import ROOT

SECONDS = 6


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found_in_a_moment(name: str) -> None:
    # A fixed seed: what a change breaks is found, and nobody's change fails for another's defect.
    argv = [
        sys.executable, "-m", "tests.fuzz", name, "--plain", "--here", "--seconds", f"{SECONDS}",
        "--seed", "1",
    ]  # fmt: skip
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_atheris_leads_a_target() -> None:
    argv = [sys.executable, "-m", "tests.fuzz", "logs", "--seconds", "1"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "cov: " in done.stderr
    assert done.stdout.endswith("nothing found\n"), done.stderr


def test_mutations_begin_with_the_seeds_and_go_on() -> None:
    cases = mutations([b"one", b"two"], [b"-"], random.Random(0))
    assert [next(cases), next(cases)] == [b"one", b"two"]
    assert len({next(cases) for _ in range(100)}) > 50


FOUND = [
    pytest.param("requests", b"HEAD / HTTP/1.1\r\nHost: a .test\r\n\r\n\0",
                 id="a refusal of a HEAD had a body"),
    pytest.param("requests",
                 b"HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n\0",
                 id="a refusal of a HEAD's body had one"),
    pytest.param("requests", b"\r\n\r\n__ping__\xff",
                 id="empty lines were skipped by how they were split"),
    pytest.param("answers", b"\0\0HTTP/1.1 200 OK\r\nContent-Length: 2 \r\n\r\nok",
                 id="a space behind an answer's length was a 500"),
    pytest.param("tunnel", b"\0\x88~\x81\xfe\x00\x05\x02\xeaa}d",
                 id="the code of too long a close frame was read from its length"),
    pytest.param("http2",
                 b"\1\4\1\x0b\x83\x86\x84\x41\x06a.test" b"\0\1\1\3abc"
                 b"\x10\0\0\x09\xff\xff\xff\0\0\0\0\0\1" b"\0",
                 id="an upload whose client was gone went on as an empty one"),
    pytest.param("http2",
                 b"\1\4\1\x1d\x83\x86\x84\x41\x06a.test\0\x0econtent-length\x019"
                 b"\0\0\1\3abc" b"\1\5\1\x09\0\5x-sum\x011" b"\7\0\0\x08\0\0\0\0\0\0\0\0" b"h",
                 id="a client that said good-bye behind a broken upload was our defect"),
    pytest.param("relay", b"\0\0",
                 id="a backend slow to close ended an idle relay in an exception"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found_once_holds(name: str, data: bytes) -> None:
    load(name).check(data)
