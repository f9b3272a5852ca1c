"""What `hipache` itself takes, and how its help and its verdict on a configuration read."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.commands.wrong_words import COMMANDS, OPTIONS
from app.system.release import version


def hipache(*words: str) -> Result:
    return CliRunner(env={"COLUMNS": "80"}).invoke(main, words, prog_name="hipache")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HIPACHE_CONFIG", raising=False)
    return tmp_path


def write(folder: Path, name: str = "config.json", **config: object) -> Path:
    path = folder / name
    path.write_text(json.dumps({"driver": "embedded:", "user": None, **config}))
    return path


@pytest.mark.parametrize("word", ["-V", "--version"])
def test_it_says_its_version(word: str) -> None:
    assert hipache(word).output == f"hipache {version()}\n"


def test_the_words_version_and_help_are_commands() -> None:
    assert hipache("version").output.startswith(f"hipache {version()}\npython 3.")
    assert hipache("help").output == hipache("--help").output
    assert hipache("help", "route").output == hipache("route", "--help").output
    assert hipache("help", "route", "set").output == hipache("route", "set", "--help").output


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("help nope", "No such command 'nope'."),
        ("help serve now", "'hipache serve' has no command 'now'."),
        ("help rout", "Did you mean 'route'?"),
        ("start", "`hipache serve` runs the proxy."),
        ("reload", "`systemctl reload hipache`"),
        ("route rm a.test", "Did you mean 'remove'?"),
        ("route get a.test", "Did you mean 'show'?"),
        ("option get a.test", "Did you mean 'list'?"),
        ("option rm a.test policy", "Did you mean 'unset'?"),
        ("dead rm a.test", "Did you mean 'clear'?"),
        ("route a.test", "The command comes before the host: hipache route show a.test"),
        ("maintenance a.test", "The command comes before the host: hipache maintenance on a.test"),
        ("srve", "'serve'"),
        ("check old.json", "The configuration is named by -c: hipache check -c old.json"),
        ("old.json", "The configuration is named by -c: hipache -c old.json"),
        ("serve --port 80", "`http.port`"),
        ("--port 80", "`http.port`"),
        ("serve --jso", "No such option '--jso'."),
        ("route set http://a.test/ http://b", "did you mean a.test?"),
    ],
)
def test_what_is_typed_wrong_is_told_right(words: str, hint: str) -> None:
    done = hipache(*words.split())
    assert done.exit_code == 2
    assert hint in done.stderr


def test_a_word_that_is_known_as_wrong_is_no_command() -> None:
    assert not COMMANDS.keys() & main.commands.keys()
    assert not OPTIONS.keys() & {"-c", "--config", "--json", "-h", "-V"}


GROUPS = [(), *((name,) for name, each in main.commands.items() if isinstance(each, click.Group))]


@pytest.mark.parametrize("group", GROUPS, ids=" ".join)
@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_leaves_nothing_out_and_fits_the_terminal(group: tuple[str, ...], word: str) -> None:
    said = hipache(*group, word).output
    assert "..." not in said.partition("Commands:")[2]
    assert "…" not in said
    assert max(map(len, said.splitlines())) <= 80
    command: click.Command = main
    for name in group:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    assert isinstance(command, click.Group)
    for name in command.commands:
        assert f"\n  {name} " in said


def test_every_command_explains_itself() -> None:
    for name in main.commands:
        done = hipache(name, "-h")
        assert done.exit_code == 0, done.output
        assert max(map(len, done.output.splitlines())) <= 80
        assert hipache(name, "--help").output == done.output


def test_a_good_configuration_is_said_to_be_good(folder: Path) -> None:
    write(folder, server={"accessLog": "stdout"})
    done = hipache("check")
    assert done.exit_code == 0
    assert done.stderr == "config.json is good\n"
    assert json.loads(done.stdout)["driver"] == [f"embedded:{folder}/.hipache"]


def test_without_a_configuration_that_is_said() -> None:
    assert hipache("check").stderr.splitlines()[-1].startswith("no config.json here: the defaults")


def test_a_configuration_that_would_not_serve_is_not_good(folder: Path) -> None:
    (folder / "log").mkdir()
    write(
        folder,
        server={"accessLog": "log"},
        https={"bind": "127.0.0.1", "port": 8443, "key": "none.pem", "cert": "none.pem"},
    )
    done = hipache("check")
    assert done.exit_code == 78
    *problems, verdict = done.stderr.splitlines()
    assert verdict == "config.json is not good"
    assert len(problems) == 2
    assert any("none.pem" in problem for problem in problems)
    assert any("server.accessLog" in problem for problem in problems)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No such file or directory"),
        ("", "no certificate in PEM form can be read from it"),
        ("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n", "no certificate in PEM"),
    ],
)
def test_a_ca_that_cannot_be_read_is_not_good(folder: Path, text: str | None, reason: str) -> None:
    if text is not None:
        (folder / "ca.pem").write_text(text)
    acme = {"agree": True, "directory": "https://127.0.0.1:1/directory", "ca": "ca.pem"}
    write(folder, https={"bind": "127.0.0.1", "acme": acme})
    done = hipache("check")
    assert done.exit_code == 78
    assert f"config.json: https.acme.ca: {folder}/ca.pem: {reason}" in done.stderr
    write(folder, https={"acme": acme | {"agree": False}})
    assert hipache("check").exit_code == 0, "nobody reads it"


def test_old_command_lines_work(folder: Path) -> None:
    path = write(folder, "other.json", server={"accessLog": "stdout"})
    assert hipache("-c", str(path), "--dry").stderr == f"{path} is good\n"
    done = hipache("--config", "missing.json")  # would serve
    assert (done.exit_code, done.stderr) == (
        78, "hipache: missing.json: cannot be read: No such file or directory\n",
    )  # fmt: skip


def test_a_configuration_in_front_holds_for_every_command(folder: Path) -> None:
    path = write(folder, "other.json", server={"statusSocket": None})
    for words in (("-c", str(path), "status"), ("status", "-c", str(path))):
        assert hipache(*words).stderr.startswith(f"hipache: {path}: server.statusSocket is null")
    own = ("-c", "missing.json", "status", "-c", str(path))  # its own goes first
    assert f"{path}: server.statusSocket" in hipache(*own).stderr
    assert "missing.json" in hipache("-c", "missing.json", "route", "list").stderr


def test_dry_goes_with_no_command() -> None:
    done = hipache("--dry", "status")
    assert done.exit_code == 2
    assert "--dry goes with no command, found 'status'" in done.stderr


def test_a_driver_of_older_hipaches_is_told_where_to_go(folder: Path) -> None:
    write(folder, driver="etcd://127.0.0.1:4001")
    said = hipache("check").stderr
    assert "driver: expected one of redis:" in said
    assert "older Hipaches could read it: move the frontends into a Redis" in said


@pytest.mark.parametrize(
    ("host", "hint"),
    [
        ("münchen.example", "in a request it is 'xn--mnchen-3ya.example'"),
        ("*.münchen.example", "in a request it is '*.xn--mnchen-3ya.example'"),
        ("mün chen", "is no host"),
    ],
)
def test_an_international_name_is_told_its_form_in_requests(
    folder: Path, host: str, hint: str
) -> None:
    write(folder, driver="file:routes.toml")
    (folder / "routes.toml").write_text("")
    done = hipache("route", "set", host, "http://127.0.0.1:1")
    assert done.exit_code != 0
    assert hint in done.stderr
