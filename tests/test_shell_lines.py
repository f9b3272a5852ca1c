"""Every command of README and docs/ is run, or this file says why not and where it is."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.frontends.passwords import make_hash
from tests.ports import free_port
from tests.processes import ROOT, serve
from tests.redis_servers import RedisServer
from tests.shell_lines import ShellLine, inline_commands, shell_lines

LINES = list(dict.fromkeys(shell_lines()))
INLINE = [line for line in dict.fromkeys(inline_commands()) if line not in LINES]

NOT_RUN = {
    r"sudo (apt|apt-get|systemctl|openssl|chown|sed|ln|python3|/opt|-u) ?.*":
        "changes the system: test_deploying.py has a system of its own",
    r"kubectl .*": "needs a cluster: test_images.py reads the file",
    r"docker .*": "needs a daemon: test_images.py takes the image's steps",
    r"pip install .*|pipx .*|~/hipache/bin/pip .*|python3 -m venv .*|export PATH=.*":
        "installs from an index: test_packaging.py installs the wheel",
    r"python3 -m http\.server .*|for port in .*": "serves: a site of the reader's",
    r"(~/hipache/bin/)?hipache (demo|serve)|hipache -c \S+|hipache chp.*":
        "serves: commands/test_demo.py, test_fleet.py, commands/test_command_line.py, chp/",
    r"(uvicorn|granian|hypercorn|daphne) .*": "serves: test_packaging.py, test_application.py",
    r"hipache why \S+": "needs an id of its own: commands/test_why.py",
    r"for site in .*": "a line of Python: commands/test_route.py",
    r"hipache route list --idle .*": "knows nothing of an hour ago: commands/test_route.py",
    r"hipache failures --follow": "does not end: commands/test_why.py",
    r"hipache drain \S+ \S+ --wait": "takes a second: commands/test_steering.py",
    r"hipache password alice": "asks on a terminal: frontends/test_passwords.py",
    r"hipache .*(HOST|NAME|\[).*": "a form of a command: its words are looked at",
    r"python -m bench\..*": "measures for minutes: test_documentation.py looks for it",
    r"hipache help": "commands/test_command_line.py",
    r"hipache cert trust": "needs the CA of a demo: commands/test_cert.py",
    r"hipache upgrade": "replaces the service: workers/test_upgrade.py",
    r"hipache .*…": "named without its words",
    r"curl --cacert .*": "needs a machine of its own: test_deploying.py",
    r"curl -X PUT .*": "needs a token: admin/test_route_api.py",
    r"redis-cli -s \.hipache/valkey\.sock": "talks with the reader: stores/test_embedded.py",
}  # fmt: skip
"""Patterns of whole lines, and why they are not run here."""

TO_AN_END = {"top": ["--once", "--interval", "0.1s"]}
"""What is added to a command that goes on until Ctrl-C."""
MEANT = {
    "HOST": "www.example.com", "URL...": "http://127.0.0.9:80", "URL": "http://127.0.0.9:80",
    "weight:URL": "weight:http://127.0.0.9:80", "TIME": "30s", "FILE": __file__,
}  # fmt: skip
"""What the words of a form stand for."""
HASH = make_hash(b"secret", bytes(16))
ADDRESS = re.compile(r"\b(?:10\.0\.0|192\.168\.0)\.(\d+)\b")
KEY = re.compile(r"\b[\w.-]+\.example\.com(?:/\w+)?")


def why_not_run(line: ShellLine) -> str | None:
    return next((why for form, why in NOT_RUN.items() if re.fullmatch(form, line.text)), None)


TOLD_ONCE = {line.text: line for line in reversed(INLINE)}
"""Many pages name `hipache doctor`: it is run for the first one."""


def to_run(line: ShellLine) -> list[str]:
    """Its words as they are run: every address is one of this machine, where nobody listens."""
    optional = re.sub(r"\[(\S[^\]]*)\]", r"\1", line.text)
    words = ShellLine(line.page, ADDRESS.sub(r"127.0.0.\1", optional)).words
    return [MEANT.get(word, word).replace("$scrypt$…", HASH) for word in words]


def test_every_line_is_run_or_told_why_not() -> None:
    assert len(LINES) > 90
    ours = {"curl", "hipache", "make", "redis-cli"}
    left = [line for line in LINES if line.words[0] not in ours]
    assert [line for line in left if not why_not_run(line)] == []
    every = [line.text for line in (*LINES, *INLINE)]
    unused = [form for form in NOT_RUN if not any(re.fullmatch(form, text) for text in every)]
    assert unused == []


def test_every_target_of_make_is_there() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    for line in LINES:
        if line.words[0] == "make":
            assert line.words[1] in targets, line


def test_the_words_of_a_line_are_known() -> None:
    """Those of lines that are not run, too."""
    for line in (*LINES, *INLINE):
        program, *words = to_run(line)
        if not program.endswith("hipache") or words[0].startswith("-"):
            continue
        command, words = command_of(words)
        parser = command.make_parser(click.Context(command, **main.context_settings))
        parser.parse_args(words)


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the first of these words name, and the words behind them."""
    command: click.Command = main
    while words and isinstance(command, click.Group):
        command, words = command.commands[words[0]], words[1:]
    return command, words


def is_whole(line: ShellLine) -> bool:
    """Whether a command in a sentence can be run: many are only named there."""
    command, words = command_of(to_run(line)[1:])
    if isinstance(command, click.Group):
        return False
    try:
        command.make_context("hipache", words, **main.context_settings)
    except click.MissingParameter:
        return False
    return True


async def test_the_commands_of_the_pages_work(
    tmp_path: Path, valkey: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page is a session with a service: its commands are run in turn."""
    named = [line for line in TOLD_ONCE.values() if not why_not_run(line) and is_whole(line)]
    assert len(named) > 20
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HIPACHE_CONFIG", raising=False)
    admin = {"bind": f"127.0.0.1:{free_port()}"}
    secret = {"debugSecret": "only for this test, and long enough"}
    async with serve(tmp_path, valkey.url, 1, admin=admin, **secret) as service:
        addresses = {
            "http://127.0.0.1:8001/": f"http://{admin['bind']}/",
            "http://127.0.0.1:8080/": f"http://127.0.0.1:{service.port}/",
            "http://127.0.0.1/": f"http://127.0.0.1:{service.port}/",
            "http://www.example.com/":
                f"-H 'Host: www.example.com' http://127.0.0.1:{service.port}/",
        }  # fmt: skip
        for page in dict.fromkeys(line.page for line in LINES):
            session = [line for line in LINES if line.page == page and not why_not_run(line)]
            session += [line for line in named if line.page == page]
            await given(valkey, [word for line in session for word in to_run(line)])
            for line in session:
                if line.words[0] == "curl":
                    await asyncio.to_thread(fetched, line, addresses)
                else:
                    await asyncio.to_thread(carried_out, line, valkey)


async def given(valkey: RedisServer, words: Sequence[str]) -> None:
    """The frontends that a page names are there, with the backends that it names."""
    keys = {key for word in words for key in KEY.findall(word)}
    urls = {word for word in words if re.fullmatch(r"(?:http|h2c)://127[^/]*", word)}
    async with valkey.client as redis:
        for pattern in ("frontend:*", "options:*", "dead*", "tls:*"):
            for key in await redis.keys(pattern):
                await redis.delete(key)
    for key in keys:
        words = ["route", "set", key, *sorted(urls or {MEANT["URL..."]})]
        assert (await asyncio.to_thread(said, *words)).exit_code == 0


def fetched(line: ShellLine, addresses: Mapping[str, str]) -> None:
    """Done in a shell, as a page says; where the machine has curl."""
    if shutil.which("curl") is None:
        return
    text = re.sub("|".join(addresses), lambda found: addresses[found[0]], line.text)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # to `hipache`
    done = subprocess.run(
        ["sh", "-c", text], env=os.environ | {"PATH": path}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    if "X-Debug" in text:
        assert "x-debug-error" in done.stdout  # nobody listens there


def carried_out(line: ShellLine, valkey: RedisServer) -> None:
    program, *words = to_run(line)
    if program == "redis-cli":
        asyncio.run(asked(valkey, words[2:] if words[0] == "-s" else words))
    elif program == "hipache":
        if words[0] == "init":
            words += ["--config", f"{line.page}.json"]
        elif "-c" in words:  # another file, of an older Hipache
            words[words.index("-c") + 1] = str(shutil.copy("config.json", "old.json"))
        done = said(*words, *TO_AN_END.get(words[0], []))
        assert done.exit_code == 0 or words[0] == "doctor", (line, done.output, done.exception)


def said(*words: str) -> Result:
    return CliRunner().invoke(main, words)


async def asked(valkey: RedisServer, words: Sequence[str]) -> None:
    """What redis-cli does; it raises what the server refuses."""
    async with valkey.client as redis:
        await redis.execute_command(*words)
