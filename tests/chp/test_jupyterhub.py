"""JupyterHub's own tests of its proxy, with `hipache chp` in the place of npm's."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("JUPYTERHUB_PYTHON")
HOW = (
    "$JUPYTERHUB_PYTHON names no Python with JupyterHub: python3 -m venv V && V/bin/pip install "
    "jupyterhub jupyterlab pytest pytest-asyncio requests-mock beautifulsoup4 jsonschema playwright"
)
SCOPES = [
    "asyncio_mode=auto",
    "asyncio_default_fixture_loop_scope=module",  # without these two the second test hangs
    "asyncio_default_test_loop_scope=module",
]


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.skipif(PYTHON is None, reason=HOW)
def test_jupyterhub_is_content(tmp_path: Path) -> None:
    assert PYTHON is not None
    program = tmp_path / "bin" / "configurable-http-proxy"  # the tests start it by this name
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m app.cli chp "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}:{Path(PYTHON).parent}:{os.environ['PATH']}"
    command = [PYTHON, "-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider"]
    command += ["--pyargs", "jupyterhub.tests.test_proxy"]
    command += [word for scope in SCOPES for word in ("-o", scope)]
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV"))}
    done = subprocess.run(
        command, cwd=tmp_path, env=environ | {"PATH": path}, capture_output=True, text=True,
        timeout=500, check=False,
    )  # fmt: skip
    passed = re.search(r"(\d+) passed, 2 skipped", done.stdout)
    assert passed is not None, done.stdout
    assert int(passed[1]) >= 32
    assert "failed" not in done.stdout.splitlines()[-1]
