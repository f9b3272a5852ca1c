"""Relative paths: what they mean does not depend on the folder that a command is started in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.config.file import load
from app.config.parsed import AccessLogTarget
from app.config.structs import Config
from app.errors import ConfigError
from app.stores import driver_of

VALUES = {
    "server": {
        "accessLog": "log/access.log",
        "statusSocket": "status.sock",
        "snapshot": "routes.json",
        "templatesDir": "pages",
        "staticDir": "/srv/static",
    },
    "https": {"bind": "127.0.0.1", "cert": "a.crt", "key": "a.key", "ca": ["ca.crt"]},
    "backendTLS": {"ca": "backends.crt"},
}


def read(folder: Path, name: str = "config.json", **environ: str) -> Config:
    return load(name, environ, folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(VALUES))
    return tmp_path


def test_a_relative_path_begins_at_the_file(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    config = read(folder / "elsewhere", "../config.json")
    assert config.server == read(folder).server
    assert config.server.access_log == AccessLogTarget(f"{folder}/log/access.log")
    assert config.server.status_socket == f"{folder}/status.sock"
    assert config.server.snapshot == f"{folder}/routes.json"
    assert config.server.templates_dir == f"{folder}/pages"
    assert config.server.static_dir == "/srv/static"
    (bind,) = config.https.binds
    assert (bind.cert, bind.key, bind.ca) == (
        f"{folder}/a.crt", f"{folder}/a.key", (f"{folder}/ca.crt",),
    )  # fmt: skip
    assert config.backend_tls.ca == f"{folder}/backends.crt"


def test_without_a_file_it_begins_where_one_stands(tmp_path: Path) -> None:
    config = load(None, {}, tmp_path)
    assert config.server.status_socket == f"{tmp_path}/.hipache/status.sock"


def test_one_in_our_own_folder_belongs_to_the_folder_around_it(folder: Path) -> None:
    (folder / ".hipache").mkdir()
    (folder / "config.json").rename(folder / ".hipache/demo.json")
    config = read(folder, ".hipache/demo.json")
    assert config.server.status_socket == f"{folder}/status.sock"
    assert config.https.acme.folder == f"{folder}/.hipache/acme"


def test_systemd_says_where_sockets_and_state_are(folder: Path) -> None:
    config = read(folder, RUNTIME_DIRECTORY="/run/a", STATE_DIRECTORY="/var/lib/a:/var/lib/b")
    assert config.server.status_socket == "/run/a/status.sock"
    assert config.server.snapshot == "/var/lib/a/routes.json"
    assert config.server.access_log == AccessLogTarget(f"{folder}/log/access.log")


@pytest.mark.parametrize("log", ["stdout", "syslog", "syslog:/dev/log", "syslog://log.test:514"])
def test_a_log_that_is_no_file_is_no_path(log: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"server": {"accessLog": log}}))
    assert read(tmp_path).server.access_log == AccessLogTarget(log)


@pytest.mark.parametrize(
    ("url", "absolute"),
    [
        ("embedded:", "embedded:{}/.hipache"),
        ("embedded:data", "embedded:{}/data"),
        ("file:routes.txt", "file:{}/routes.txt"),
        ("file:/srv/my%20routes", "file:/srv/my routes"),
        ("redis://db.test:6379", "redis://db.test:6379"),
    ],
)
def test_a_store_is_found_from_every_folder(url: str, absolute: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"driver": url}))
    assert driver_of(read(tmp_path)).name == absolute.format(tmp_path)


def test_certificates_of_a_store_are_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"driver": "rediss://db.test?cafile=ca.crt&certfile=/srv/a%20b.crt"})
    )
    driver = driver_of(read(tmp_path))
    assert dict(driver.urls[0].tls) == {  # type: ignore[attr-defined]
        "cafile": f"{tmp_path}/ca.crt", "certfile": "/srv/a b.crt",
    }  # fmt: skip


def test_a_file_of_a_closed_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load("gone/config.json", {}, tmp_path)
