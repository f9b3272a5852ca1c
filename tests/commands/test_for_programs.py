"""What scripts rely on: `--json` where a command prints facts, and one way to write a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.commands.cli_options import Duration, FineDuration

WITHOUT_JSON = {
    "says what it changed": [
        "route set", "route add", "route remove", "route rename", "route import", "route undo",
        "option set", "option unset", "maintenance on", "maintenance off", "pause", "resume",
        "drain", "undrain", "dead mark", "dead clear", "revive", "cert order", "cert renew",
        "cert remove", "upgrade", "init",
    ],
    "serves": ["serve", "demo", "chp"],
    "prints one thing, to be used as it is": [
        "completion", "man", "password", "debug-ticket", "cert trust",
    ],
    "prints JSON anyhow": ["route export"],
    "prints the help of a command": ["help"],
    "prints what Redis answers, as redis-cli does": ["redis"],
}  # fmt: skip
"""Every other command prints facts."""


def every_command(group: click.Group = main, name: str = "") -> Iterator[tuple[str, click.Command]]:
    for word, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every_command(command, f"{name}{word} ")
        else:
            yield name + word, command


COMMANDS = dict(every_command())


def test_every_command_that_prints_facts_prints_json() -> None:
    without = {name for names in WITHOUT_JSON.values() for name in names}
    with_json = {
        name for name, command in COMMANDS.items() if "as_json" in {p.name for p in command.params}
    }
    assert with_json == COMMANDS.keys() - without
    assert without <= COMMANDS.keys()


def test_every_time_is_written_alike() -> None:
    """But for chp's options, which are milliseconds, as configurable-http-proxy's are."""
    times = {
        f"{name} {parameter.opts[-1]}": parameter
        for name, command in COMMANDS.items()
        for parameter in command.params
        if isinstance(parameter.type, (Duration, FineDuration))
    }
    assert len(times) > 15
    for parameter in times.values():
        assert "TIME" in parameter.make_metavar(click.Context(main))
        for text, seconds in [("30", 30), ("30s", 30), ("1m", 60)]:
            assert parameter.type.convert(text, None, None) == seconds
        for text in ["soon", "", "-1", "1w", "1e3", "nan", "1 m"]:
            with pytest.raises(click.UsageError):
                parameter.type.convert(text, None, None)
    other = (click.types.FloatParamType, click.FloatRange)
    for name, command in COMMANDS.items():
        assert name == "chp" or not [p for p in command.params if isinstance(p.type, other)], name


@pytest.mark.parametrize(
    ("kind", "text", "seconds"),
    [
        (Duration(), "2h", 7200), (Duration(), "7d", 604_800), (Duration(), 5, 5),
        (Duration(), "1.5m", 90), (Duration(), "0", None), (Duration(), "0.5", None),
        (Duration("10m"), "11m", None), (FineDuration(), "0.5", 0.5), (FineDuration(), "0", 0),
        (FineDuration(), "1.5s", 1.5), (FineDuration(0.1, "1m"), "0.01", None),
        (FineDuration(0.1, "1m"), "61s", None),
    ],
)  # fmt: skip
def test_a_time_has_its_bounds(
    kind: Duration | FineDuration, text: str, seconds: float | None
) -> None:
    if seconds is None:
        with pytest.raises(click.UsageError, match=r"is not a time such as"):
            kind.convert(text, None, None)
    else:
        assert kind.convert(text, None, None) == seconds


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HIPACHE_CONFIG", raising=False)
    return tmp_path


def run(folder: Path, *words: str, **config: object) -> Result:
    config = {"driver": "file:routes.toml", "user": None, **config}
    (folder / "config.json").write_text(json.dumps(config))
    return CliRunner().invoke(main, [*words, "--json"])


def test_check_says_all_of_a_good_configuration(folder: Path) -> None:
    done = run(folder, "check", server={"accessLog": "stdout"})
    said = json.loads(done.stdout)
    assert (done.exit_code, done.stderr) == (0, "")
    assert said.pop("config")["driver"] == [f"file:{folder}/routes.toml"]
    assert said == {"good": True, "source": "config.json", "problems": [], "warnings": []}


def test_check_says_why_a_configuration_would_not_serve(folder: Path) -> None:
    (folder / "log").mkdir()
    done = run(folder, "check", server={"accessLog": "log"})
    said = json.loads(done.stdout)
    assert (done.exit_code, done.stderr, said["good"]) == (78, "", False)
    assert len(said["problems"]) == 1
    assert said["config"]["server"]["accessLog"] == str(folder / "log")


def test_check_says_why_a_configuration_cannot_be_read(folder: Path) -> None:
    done = run(folder, "check", servers={})
    said = json.loads(done.stdout)
    assert (done.exit_code, done.stderr, said["good"], said["config"]) == (78, "", False, None)
    assert "servers" in said["problems"][0]


def test_the_options_of_a_frontend(folder: Path) -> None:
    options = 'options = {basicAuth = "a:$scrypt$secret", policy = "hash"}'
    (folder / "routes.toml").write_text(f'["a.test"]\nbackends = ["http://a"]\n{options}\n')
    said = json.loads(run(folder, "option", "list", "a.test").stdout)
    assert said["policy"] == "hash"
    assert "secret" not in said["basicAuth"]
