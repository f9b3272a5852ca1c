"""What `server.hooks` may name, and what is said of what it may not."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest

from app.config.structs import Config, parse
from app.errors import ConfigError
from app.hooks.hook_loading import NO_HOOKS, load_hooks
from tests.hooks.modules import Write
from tests.processes import command


def named(name: str) -> Config:
    return parse(json.dumps({"server": {"hooks": name}}))


def test_without_a_name_there_are_none() -> None:
    assert load_hooks(Config()) is NO_HOOKS


def test_the_functions_are_found(write_hooks: Write) -> None:
    hooks = load_hooks(named(write_hooks("def on_request(r): pass\nasync def on_end(e): pass")))
    assert hooks.on_request is not None
    assert hooks.on_end is not None
    assert hooks.on_route is None


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def on_request(", "SyntaxError: "),
        ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("\n1 / 0", "line 2)"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def on_reqest(r): pass", "on_reqest is no hook; there are on_request, on_route"),
        ("x = 1", "it defines none of on_request"),
        ("on_request = 5", "on_request is not a function"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(write_hooks: Write, code: str, said: str) -> None:
    name = write_hooks(code)
    with pytest.raises(ConfigError) as found:
        load_hooks(named(name))
    message = str(found.value)
    assert message.startswith(f"config.json: server.hooks: {name}: ")
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["no_such_module", "a b", ".x", ""])
def test_a_name_that_leads_nowhere(name: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.json: server\.hooks: "):
        load_hooks(named(name))


HOOKS = """from app.hooks import Answer
def on_request(request): return Answer(200, "%s")
"""


async def test_sighup_loads_it_anew_and_keeps_it_if_that_fails(tmp_path: Path) -> None:
    file = tmp_path / "nearby_hooks.py"
    settings = {
        "driver": "file:routes.json", "user": None, "http": {"port": 0}, "admin": {"bind": None},
        "server": {"workers": 1, "hooks": "nearby_hooks", "accessLog": None, "snapshot": None},
    }  # fmt: skip
    (tmp_path / "routes.json").write_text('{"a.test": ["site"]}')
    (tmp_path / "config.json").write_text(json.dumps(settings))
    file.write_text(HOOKS % "broken" + "1 / 0")
    async with command("app", "check", cwd=tmp_path) as checked:
        assert await checked.ended() == 78
        assert any("nearby_hooks: ZeroDivisionError" in line for line in checked.log)
    file.write_text(HOOKS % "one")
    async with command("app", "serve", cwd=tmp_path) as service:
        await service.ready(1)
        assert (await service.ask()).endswith(b"one")
        file.write_text(HOOKS % "two")
        service.signal(signal.SIGHUP)
        await service.saw("worker drained|worker ended")
        assert (await service.ask()).endswith(b"two")
        file.write_text("1 / 0")
        service.signal(signal.SIGHUP)
        await service.saw("configuration refused, the old one stays: .*ZeroDivisionError")
        assert (await service.ask()).endswith(b"two")
    assert "nearby_hooks" not in sys.modules
