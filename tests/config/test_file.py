"""Which file is read, and how a missing or unreadable one is told."""

from __future__ import annotations

import os

import pytest

from app.config.file import load
from app.errors import ConfigError


@pytest.fixture
def folder(tmp_path):
    for name in ("config.json", "config_test.json", "mine.json"):
        (tmp_path / name).write_text(f'{{"user": "{name}"}}')
    return tmp_path


@pytest.mark.parametrize(
    ("path", "environ", "read"),
    [
        pytest.param(None, {}, "config.json", id="the current folder's"),
        pytest.param(None, {"HIPACHE_CONFIG": "mine.json"}, "mine.json", id="the environment's"),
        pytest.param("mine.json", {"HIPACHE_CONFIG": "x"}, "mine.json", id="the command line wins"),
        pytest.param(None, {"SETTINGS_FLAVOR": "test"}, "config_test.json", id="a flavor"),
        pytest.param(
            "mine.json", {"SETTINGS_FLAVOR": "test"}, "config_test.json", id="a flavor beside it"
        ),
        pytest.param(None, {"SETTINGS_FLAVOR": ""}, "config.json", id="no flavor"),
    ],
)
def test_which_file_is_read(folder, path, environ, read):
    config = load(path, environ, folder)
    assert (config.user, config.source) == (read, read)


def test_a_flavor_is_looked_for_beside_the_file_named(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    config = load(folder / "config.json", {"SETTINGS_FLAVOR": "test"}, elsewhere)
    assert config.user == "config_test.json"


def test_without_any_file_the_defaults_and_the_environment_apply(tmp_path):
    config = load(None, {"REDIS_URL": "redis://h"}, tmp_path)
    assert (config.driver, config.source) == (("redis://h",), "defaults")


@pytest.mark.parametrize(
    ("path", "environ", "line"),
    [
        ("gone.json", {}, "gone.json: cannot be read: No such file or directory"),
        (None, {"HIPACHE_CONFIG": "gone"}, "gone: cannot be read: No such file"),
        (None, {"SETTINGS_FLAVOR": "gone"}, "config_gone.json: cannot be read: No such file"),
        (None, {"SETTINGS_FLAVOR": "../x"}, "$SETTINGS_FLAVOR: expected a word, found '../x'"),
        (".", {}, ": cannot be read: Is a directory"),
        ("a\0b", {}, "a\\x00b: cannot be read: "),
        ("/dev/zero", {}, "/dev/zero: not a configuration: more than 16777216 bytes"),
    ],
)
def test_a_file_that_can_not_be_read_is_named(folder, path, environ, line):
    with pytest.raises(ConfigError) as caught:
        load(path, environ, folder)
    assert line in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "config.json").write_bytes(b'{"user": "\xff"}')
    with pytest.raises(ConfigError, match=r"config.json: not a configuration: byte 10 is not"):
        load(None, {}, tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_named(folder):
    (folder / "config.json").chmod(0)
    with pytest.raises(ConfigError, match=r"config.json: cannot be read: Permission denied"):
        load(None, {}, folder)
