"""What a new user asks for first: a configuration, completion, the manual."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli import main
from app.commands.init import TEMPLATE
from app.config.structs import parse


def invoke(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, words)
    return done.exit_code, done.output


def test_init_writes_a_configuration_that_is_good(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    status, told = invoke("init", "-c", str(file), "--driver", "file:routes.toml")
    assert status == 0
    assert "hipache check" in told
    (tmp_path / "routes.toml").write_text('["a.test"]\nbackends = []\n')
    status, told = invoke("check", "-c", str(file))
    assert status == 0, told
    assert told.rstrip().endswith("is good")


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text("{}")
    status, told = invoke("init", "-c", str(file))
    assert (status, file.read_text()) == (78, "{}")
    assert "is there already" in told


def test_init_knows_a_driver_that_cannot_be(tmp_path: Path) -> None:
    status, told = invoke("init", "-c", str(tmp_path / "config.json"), "--driver", "etcd:")
    assert status == 78
    assert "--driver: expected one of" in told
    assert not list(tmp_path.iterdir())


def test_what_it_leaves_in_comments_could_be_used(tmp_path: Path) -> None:
    """Every key there is one that Hipache knows."""
    used = re.sub(r'^( *)// ("\w+": )', r"\1\2", TEMPLATE, flags=re.M) % '"redis:"'
    used = used.replace('        "bind": "127.0.0.1",\n', "")
    config = parse(used)
    assert config.admin.bind is not None
    assert config.https.binds[0].cert == "cert.pem"
    assert not config.warnings


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    status, script = invoke("completion", shell)
    assert status == 0
    assert "_HIPACHE_COMPLETE" in script
    if found := shutil.which(shell):
        subprocess.run([found, "-n"], input=script, text=True, check=True)


def test_the_manual_has_every_command() -> None:
    status, page = invoke("man")
    assert status == 0
    assert page.startswith('.TH HIPACHE 1 "" "hipache ')
    for name, command in main.commands.items():
        assert (f".SS hipache {name}\n".replace("-", r"\-") in page) is not command.hidden
    if man := shutil.which("groff"):
        done = subprocess.run(
            [man, "-man", "-Tutf8", "-ww"], input=page, capture_output=True, text=True, check=True
        )
        assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "problem"),
    [(("dead", "mark", "a.test", "http://b", "--for", "soon"), "'soon' is not a time"),
     (("route", "set", "a.test", "http://b", "--ttl", "1w"), "'1w' is not a time")],
)  # fmt: skip
def test_a_time_is_written_alike(words: tuple[str, ...], problem: str) -> None:
    status, told = invoke(*words)
    assert status == 2
    assert problem in told
