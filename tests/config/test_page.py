"""docs/configuration.md tells every key, with the default that the code has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config.legacy import OLD_NAMES
from app.config.structs import Config, HealthCheck, ServerConfig, parse, render
from app.logs.access_log import FIELDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/configuration.md").read_text()


def defaults(values: object, path: str) -> Iterator[tuple[str, object]]:
    """Every key with its default, as in the page: a `bind` entry is not written out there."""
    if not isinstance(values, dict):
        yield path, values
        return
    for name, value in values.items():
        yield from defaults(value, f"{path}.{name}".removeprefix("."))


def test_the_table_has_every_key_with_its_default():
    in_code = dict(
        defaults(json.loads(render(Config(server=ServerConfig(), health_check=HealthCheck()))), "")
    )
    in_code["healthCheck"] = None
    in_code["http.bind"] = ["127.0.0.1"]
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|", PAGE, re.M)
    assert {key: json.loads(default) for key, default in rows} == in_code


@pytest.mark.parametrize("name", OLD_NAMES)
def test_every_old_name_is_on_the_page(name):
    assert f"`{name}`" in PAGE.partition("## Old names")[2]


def test_the_shipped_file_is_valid_and_stays_on_loopback():
    config = parse((ROOT / "config.json").read_text())
    assert [(bind.address, bind.port) for bind in config.http.binds] == [("127.0.0.1", 8080)]
    assert (config.server.workers, config.driver, config.warnings) == (2, ("embedded:",), ())


def test_every_field_of_the_access_log_is_explained():
    page = (ROOT / "docs/logs.md").read_text("utf-8")
    told = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", page, re.M)))
    assert set(told) >= {*FIELDS, "request"}
