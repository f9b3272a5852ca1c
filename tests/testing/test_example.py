"""The example project, run as its reader runs it; and what the page shows of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.processes import ROOT

EXAMPLE = ROOT / "docs/examples/testing"
PAGE = (ROOT / "docs/testing.md").read_text("utf-8")
SHORT = "a_host_leads or may_be_mocked or mounted_in_fastapi"


@pytest.mark.parametrize(
    "only",
    [pytest.param(SHORT, id="short"), pytest.param("test", id="all", marks=pytest.mark.long)],
)
def test_the_example_project_passes(only: str, tmp_path: Path) -> None:
    project = shutil.copytree(
        EXAMPLE, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__")
    )
    before = {path.name for path in project.iterdir()}
    # The finder of an editable install knows the package as `hipache`; nothing else is imported.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio",
         "-p", "no:xdist", "-p", "no:randomly", "-k", only],
        cwd=project, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    assert {path.name for path in project.iterdir()} == before


def test_the_page_shows_what_the_example_does() -> None:
    def lines(text: str) -> list[str]:
        return [line.partition("  #")[0].strip() for line in text.splitlines() if line.strip()]

    example = "\n".join(lines((EXAMPLE / "test_routes.py").read_text("utf-8")))
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", PAGE, re.M)
    shown = ["\n".join(lines(dedent(block))) for block in blocks]
    assert len(shown) >= 7
    faults = next(block for block in shown if "stall()" in block).splitlines()
    assert [line for line in faults[:3] if line not in example] == []
    assert [b for b in shown if "stall()" not in b and b not in example] == []


def test_pytest_loads_no_proxy_for_projects_that_test_none() -> None:
    look = "import sys, hipache.testing.plugin; print('uvicorn' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", look], cwd="/", capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
