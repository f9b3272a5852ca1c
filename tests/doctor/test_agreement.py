"""`hipache doctor` and `hipache serve` say the same of whether the service starts."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import signal
import socket
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from app.cli import main
from app.workers import privileges
from tests.processes import command
from tests.tls.authority import DEFAULT, write

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give up")
Settings = dict[str, Any]
Place = Callable[[Path], Settings]
"""Prepares a folder; what the configuration says then."""


def well(folder: Path) -> Settings:
    write(folder, "default", DEFAULT)
    pair = {"cert": f"{folder}/default.crt", "key": f"{folder}/default.key"}
    dead = folder / "dead.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(dead))
    return {
        "server": {"accessLog": str(folder / "new" / "folder" / "access.log")},
        "http": {"port": 0, "bind": ["127.0.0.1", f"unix:{dead}"]},
        "https": {"bind": "127.0.0.1", "port": 0, **pair},
    }


def log_is_a_folder(folder: Path) -> Settings:
    return {"server": {"accessLog": str(folder)}}


def log_is_inside_a_file(folder: Path) -> Settings:
    return {"server": {"accessLog": f"{folder}/config.json/access.log"}}


def log_is_a_dangling_link(folder: Path) -> Settings:
    (folder / "log").symlink_to(folder / "nowhere" / "log")
    return {"server": {"accessLog": str(folder / "log")}}


def no_certificate(folder: Path) -> Settings:
    return {"https": {"bind": "127.0.0.1", "port": 0, "cert": "none.crt", "key": "none.key"}}


def no_folder_for_a_socket(folder: Path) -> Settings:
    return {"http": {"bind": [f"unix:{folder}/none/http.sock"]}}


def a_file_where_a_socket_goes(folder: Path) -> Settings:
    return {"http": {"bind": [f"unix:{folder}/config.json"]}}


def a_long_path_of_a_socket(folder: Path) -> Settings:
    (folder / ("x" * 100)).mkdir()
    return {"http": {"bind": [f"unix:{folder}/{'x' * 100}/http.sock"]}}


def no_user(folder: Path) -> Settings:
    return {"user": "nobody-has-this-name"}


def store_inside_a_file(folder: Path) -> Settings:
    return {"driver": f"embedded:{folder}/config.json/store"}


def logs_of_root(folder: Path) -> Settings:
    """Root hands over the file that is there."""
    open_to_all(folder)
    (folder / "access.log").touch(mode=0o600)
    return {"user": "nobody", "server": {"accessLog": str(folder / "access.log")}}


def a_log_of_root_that_has_two_names(folder: Path) -> Settings:
    settings = logs_of_root(folder)
    (folder / "other.log").hardlink_to(folder / "access.log")
    return settings


def open_to_all(folder: Path) -> None:
    """pytest makes its folders for their owner alone."""
    for each in (folder, *folder.parents):
        if each != Path(tempfile.gettempdir()):
            each.chmod(0o755)
        else:
            return


def program_is_closed() -> bool:
    """Whether the Python of these tests lies in a closed home."""
    nobody = pwd.getpwnam("nobody")
    return bool(privileges.as_user(nobody.pw_uid, nobody.pw_gid, privileges.unreadable))


def ask_doctor(path: Path) -> list[dict[str, str]]:
    done = CliRunner().invoke(main, ["doctor", "--json", "--config", str(path)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    found: list[dict[str, str]] = json.loads(done.output)["findings"]
    return found


@pytest.mark.parametrize(
    ("place", "starts"),
    [
        (well, True),
        *((place, False) for place in (
            log_is_a_folder, log_is_inside_a_file, log_is_a_dangling_link, no_certificate,
            no_folder_for_a_socket, a_file_where_a_socket_goes, a_long_path_of_a_socket,
            store_inside_a_file,
        )),
        pytest.param(no_user, False, marks=as_root),
        pytest.param(logs_of_root, True, marks=as_root),
        pytest.param(a_log_of_root_that_has_two_names, False, marks=as_root),
    ],
)  # fmt: skip
async def test_what_the_doctor_says_comes_true(tmp_path: Path, place: Place, starts: bool) -> None:
    path = tmp_path / "config.json"
    path.write_text("")
    settings = place(tmp_path)
    if settings.get("user") == "nobody" and program_is_closed():
        pytest.skip("the program itself is closed to nobody here")
    server = {"accessLog": None, "snapshot": None, "workers": 1} | settings.pop("server", {})
    values = {"driver": f"file:{tmp_path}/routes.toml", "user": None, "http": {"port": 0}}
    values |= {"admin": {"bind": None}, "server": server}
    path.write_text(json.dumps(values | settings))
    found = await asyncio.to_thread(ask_doctor, path)
    refusing = [f for f in found if "'hipache serve' does not start" in f["meaning"]
                or "it exits at once" in f["meaning"]]  # fmt: skip
    assert bool(refusing) is not starts, found
    async with command("app.cli", "serve", cwd=tmp_path) as serving:
        if starts:
            await serving.saw("worker ready")
            serving.signal(signal.SIGTERM)
        assert await serving.ended() == (0 if starts else 78), serving.log


@as_root
@pytest.mark.parametrize("words", [[], ["--config", "config.json"]], ids=["by itself", "by name"])
def test_a_closed_folder_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    (tmp_path / "config.json").write_text('{"driver": "file:routes.toml"}')
    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(main, ["doctor"])  # imports what it needs while that can be read
    tmp_path.chmod(0o700)

    def ask() -> str:
        done = CliRunner().invoke(main, ["doctor", *words])
        return done.output + "".join(traceback.format_exception(done.exception))

    nobody = pwd.getpwnam("nobody")
    said = str(privileges.as_user(nobody.pw_uid, nobody.pw_gid, ask))
    assert "error: config.json: cannot be read: Permission denied" in said
    assert "Traceback" not in said or "SystemExit: 2" in said


@pytest.mark.parametrize("word", ["doctor", "serve", "status"])
async def test_a_folder_that_is_gone_is_no_traceback(tmp_path: Path, word: str) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os, sys; os.rmdir({str(gone)!r}); sys.argv[1:] = [{word!r}, '-c', 'x.json']\n"
    (tmp_path / "start.py").write_text(code + "from app.cli import main; main()")
    environ = {"PYTHONPATH": f"{Path(__file__).parents[2]}:{tmp_path}"}
    async with command("start", cwd=gone, **environ) as run:
        assert await run.ended() > 0
    assert "Traceback" not in "".join(run.log)


@as_root
def test_a_closed_status_socket_says_nothing_of_ports(tmp_path: Path) -> None:
    open_to_all(tmp_path)
    with socket.socket(socket.AF_UNIX) as status, socket.create_server(("127.0.0.1", 0)) as other:
        status.bind(str(tmp_path / "status.sock"))
        (tmp_path / "status.sock").chmod(0o600)
        server = {"accessLog": None, "snapshot": None, "statusSocket": "status.sock"}
        values = {"server": server, "http": {"port": other.getsockname()[1]}, "user": None}
        values |= {"driver": "file:routes.toml", "admin": {"bind": None}}
        (tmp_path / "config.json").write_text(json.dumps(values))
        ask_doctor(tmp_path / "config.json")  # imports what it needs while that can be read
        nobody = pwd.getpwnam("nobody")

        def ask() -> str:
            return " ".join(f["name"] for f in ask_doctor(tmp_path / "config.json"))

        names = str(privileges.as_user(nobody.pw_uid, nobody.pw_gid, ask)).split()
        assert "status-closed" in names
        assert "port-taken" not in names
        assert "port-taken" in ask().split()


@as_root
def test_of_another_users_service_what_we_may_not_do_is_no_fault(tmp_path: Path) -> None:
    open_to_all(tmp_path)
    (tmp_path / "key.pem").touch(0o600)
    with socket.socket(socket.AF_UNIX) as status:
        status.bind(str(tmp_path / "status.sock"))
        os.chown(tmp_path / "status.sock", pwd.getpwnam("daemon").pw_uid, 0)
        (tmp_path / "status.sock").chmod(0o600)
        server = {"accessLog": "access.log", "snapshot": "s.json", "statusSocket": "status.sock"}
        values = {"server": server, "user": None, "driver": "file:routes.toml"}
        https = {"bind": "127.0.0.1", "cert": "key.pem", "key": "key.pem"}
        values |= {"https": https, "admin": {"bind": None}}
        file = tmp_path / "config.json"
        file.write_text(json.dumps(values))
        ask_doctor(file)  # imports what it needs while that can be read
        nobody = pwd.getpwnam("nobody")

        def ask() -> str:
            names = " ".join(f["name"] for f in ask_doctor(file))
            return names + CliRunner().invoke(main, ["check", "-c", str(file)]).output

        said = str(privileges.as_user(nobody.pw_uid, nobody.pw_gid, ask))
        assert "status-closed" in said
        assert not {"not-writable", "certificate-unusable", "start-refused"} & {*said.split()}
        assert said.endswith(
            "not good\nthe service is another user's: "
            f"sudo -u daemon hipache check --config {file}\n"
        )
