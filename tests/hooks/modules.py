"""Modules of hooks for tests, and the examples of docs/hooks.md as modules."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

PAGE = (Path(__file__).parents[2] / "docs/hooks.md").read_text("utf-8")
EXAMPLES = {
    part.partition("\n")[0]: dedent("\n".join(re.findall(r"^    .*|^$", part, re.M)))
    for part in PAGE.partition("## Examples")[2].split("### ")[1:]
}
_numbers = count()

Write = Callable[[str], str]


@pytest.fixture
def write_hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a module of hooks where Python finds it; gives its name."""
    # Not by syspath_prepend: it wants a part of pkg_resources that another test's stand-in lacks.
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def write(code: str) -> str:
        name = f"hooks_of_test_{next(_numbers)}"
        code = dedent(code).replace("from hipache.hooks import", "from app.hooks import")
        (tmp_path / f"{name}.py").write_text(code, "utf-8")
        return name

    return write


FORMS = ("def", "async def")


def in_form(form: str, code: str) -> str:
    """The same hooks, all of them as plain functions or as coroutine functions."""
    return re.sub(r"^( *)(?:async )?def (?=on_)", rf"\1{form} ", code, flags=re.MULTILINE)


def loaded(name: str) -> ModuleType:
    """The module as the running proxy has it."""
    return sys.modules[name]
