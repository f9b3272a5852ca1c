"""The program of docs/embed.md, as its reader runs it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.backends import answer, answering
from tests.ports import free_port
from tests.processes import ROOT, program

PAGE = (ROOT / "docs/embed.md").read_text("utf-8")
BLOCKS = [dedent(block) for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", PAGE, re.M)]


@pytest.mark.parametrize(
    ("served", "asked", "answered"),
    [
        ("app", "/cart", b"the shop"), ("app", "/own", b"ours"), ("site", "/shop/cart", b"the shop")
    ],
)  # fmt: skip
async def test_the_program_of_the_page_serves(
    served: str, asked: str, answered: bytes, tmp_path: Path
) -> None:
    whole, own_route, mounted = BLOCKS
    port = free_port()
    made, main, run = whole.partition("if __name__")
    run = run.replace("app, port=8080", f"{served}, port={port}")
    made = made.replace('toml"', 'toml", admin=AdminConfig(bind=None)')  # its port is one of many's
    made = f"from hipache.config.admin import AdminConfig\n{made}"
    (tmp_path / "shop.py").write_text(f"{made}{own_route}{mounted}{main}{run}")
    (tmp_path / "config.json").write_text(
        '{"driver": "file:routes.toml", "admin": {"bind": null}, "server": {"accessLog": null}}'
    )
    environ = os.environ | {"PYTHONPATH": ""}
    async with (
        answering(answer(b"the shop")) as there,
        program(sys.executable, "shop.py", cwd=tmp_path, environ=environ) as service,
    ):
        (tmp_path / "routes.toml").write_text(f'["b.test"]\nbackends = ["{there.url}"]\n')
        await service.bare_ready(1, port)
        assert answered in await service.ask("b.test", asked)
