"""`hipache explain --hooks`: which hook answers, and what the others do."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli import main

HOST, A, B = "a.test", "http://127.0.0.1:8001", "http://127.0.0.1:8002"
HOOKS = """
from app.hooks import Answer, prefer

async def on_request(request):
    if request.path == "/closed":
        return Answer(403, "no robots, please")
    if request.path == "/elsewhere":
        return Answer.redirect("https://www.a.test/")
    if request.path == "/broken":
        return 1 / 0
    if request.path == "/wrong":
        return 403

def on_route(request, route):
    if request.header("x-new"):
        return prefer(route, "http://127.0.0.1:8002")

def on_response(request, response):
    raise AssertionError("explain has no answer to show it")
"""
Explain = Callable[..., str]


@pytest.fixture
def explain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Explain:
    """Runs the command; gives what it printed, errors included."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "explained_hooks", raising=False)
    values = {"driver": "file:routes.json", "admin": {"bind": None}}
    config = tmp_path / "config.json"
    config.write_text(json.dumps(values | {"server": {"hooks": "explained_hooks"}}))
    (tmp_path / "routes.json").write_text(json.dumps({HOST: {"id": "x", "backends": [A, B]}}))
    (tmp_path / "explained_hooks.py").write_text(HOOKS)

    def run(*words: str, fails: int = 0) -> str:
        done = CliRunner().invoke(main, ["explain", *words, "--config", str(config)])
        assert done.exit_code == fails, done.output
        return done.output

    return run


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("closed", "403 'no robots, please', by the hook on_request of explained_hooks"),
        ("elsewhere", "302 to https://www.a.test/, by the hook on_request of explained_hooks"),
        ("broken", "500 hook on_request failed: ZeroDivisionError: division by zero ("),
        (
            "wrong",
            "500 hook on_request failed: TypeError: returned neither an Answer nor None: 403",
        ),
    ],
)
def test_the_hook_that_answers_is_named(explain: Explain, path: str, answer: str) -> None:
    said = explain(f"{HOST}/{path}", "--hooks")
    assert f"answer    {answer}" in said
    assert "choice" not in said


def test_hooks_that_answer_nothing_are_named_too(explain: Explain) -> None:
    said = explain(HOST, "--hooks")
    assert "remark    the hook on_request of explained_hooks lets it pass\n" in said
    assert "remark    the hook on_route of explained_hooks lets it pass\n" in said
    assert "remark    the hook on_response of explained_hooks sees the answer's fields" in said
    assert f"choice    {A} 50.0%, {B} 50.0%" in said
    said = explain(HOST, "--hooks", "-H", "X-New: 1")
    assert "remark    the hook on_route of explained_hooks chooses the route\n" in said
    assert f"choice    {B}\n" in said
    assert "on_request of explained_hooks lets it pass\n" in explain("b.test", "--hooks")


def test_no_code_runs_unless_it_is_asked_for(explain: Explain) -> None:
    for host in (HOST, "b.test"):
        said = explain(f"{host}/closed")
        assert "remark    hooks of explained_hooks were not asked: they may decide other" in said
        assert "explain --hooks asks them" in said
    assert "explained_hooks" not in sys.modules


def test_hooks_that_cannot_be_asked_are_one_line(explain: Explain, tmp_path: Path) -> None:
    (tmp_path / "explained_hooks.py").write_text("import no_such_thing")
    said = explain(HOST, "--hooks", fails=78)
    assert "server.hooks: explained_hooks: ModuleNotFoundError" in said
    (tmp_path / "config.json").write_text('{"driver": "file:routes.json"}')
    said = explain(HOST, "--hooks", fails=1)
    assert said.endswith("config.json: server.hooks names no module to ask\n")
    assert said.count("\n") == 1
