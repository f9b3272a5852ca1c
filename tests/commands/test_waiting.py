"""What a person sees while a command waits."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from pathlib import Path

import click
import pytest

from app.commands.on_table import run_on_table
from app.commands.waiting import waiting
from app.stores.tables import RouteTable


def seen_on_a_terminal(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    def wait() -> None:
        with waiting("for [a.test]"):
            pass

    return drawn_by(wait, environ, monkeypatch)


def drawn_by(
    act: Callable[[], None], environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> str:
    for name, value in {"TERM": "xterm", "COLUMNS": "80", **environ}.items():
        monkeypatch.setenv(name, value)
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal, redirect_stderr(terminal):
        act()
    shown = b""
    with os.fdopen(ours, "rb", buffering=0) as screen, suppress(OSError):  # its other end is closed
        while piece := screen.read(4096):
            shown += piece
    return shown.decode()


def test_a_terminal_shows_what_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "for [a.test]" in seen_on_a_terminal({}, monkeypatch)


def test_wait_shows_that_it_waits_for_the_workers_and_not_during_the_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.json"
    config.write_text(f'{{"driver": "file:{tmp_path}/routes.toml"}}')

    async def ask(table: RouteTable) -> None:
        click.echo("sure?", err=True)

    shown = drawn_by(lambda: run_on_table(str(config), ask, wait=1), {}, monkeypatch)
    assert "every worker" in shown.partition("sure?")[2]
    assert "every worker" not in shown.partition("sure?")[0]
    assert capsys.readouterr().out == "workers that have it: 0\n"


def test_no_colour_is_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    shown = seen_on_a_terminal({"NO_COLOR": "1"}, monkeypatch)
    assert "for [a.test]" in shown
    assert "\x1b[3" not in shown.replace("\x1b[?25", "")


def test_nothing_is_shown_elsewhere() -> None:
    with redirect_stderr(io.StringIO()) as told, waiting("for a.test"):
        pass
    assert told.getvalue() == ""


def test_an_error_inside_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="why"), redirect_stderr(io.StringIO()), waiting("x"):
        raise ValueError("why")
