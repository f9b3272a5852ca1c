"""Whatever the file holds, `parse` raises nothing but ConfigError, and no secret gets out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.legacy import OLD_NAMES
from app.config.structs import Config, parse, render
from app.errors import ConfigError
from app.stores.drivers import shown

KEYS = sorted(
    {
        *(name for path in OLD_NAMES for name in path.split(".")),
        *json.loads(render(Config())),
        *(name for part in json.loads(render(Config())).values() if isinstance(part, dict)
          for name in part),
        "address", "Size", "size", "ttl", "warnings", "source",
    }
)  # fmt: skip
KEY = st.sampled_from(KEYS) | st.text(max_size=5)
SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
JSON = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=4)
)
SECRET = st.text('abcXYZ019@:/?#[]%\\" é', min_size=4).map(lambda text: f"s3cret{text}")


@given(st.dictionaries(KEY, JSON, max_size=5), st.dictionaries(
    st.sampled_from(["REDIS_URL", "PORT", "WEB_CONCURRENCY"]), st.text(max_size=8)))  # fmt: skip
def test_any_json_gives_a_configuration_or_one_line(raw, environ):
    assert spoken(json.dumps(raw), environ)


@given(st.text())
def test_any_text_gives_a_configuration_or_one_line(text):
    assert spoken(text)


URLS = [
    "redis://:{}@h/0#p",
    "redis://u:{}@h",
    "rediss://{}@h:1",
    "redis://h?password={}",
    "etcd://x:{}@h",
    "redis:{}@h",
]


@given(SECRET, st.sampled_from(URLS))
def test_a_password_in_a_url_is_never_shown(secret, url):
    said = spoken(json.dumps({"driver": url.format(secret)}))
    assert "s3cret" not in said


@given(SECRET)
def test_an_old_password_arrives_whole_and_is_never_shown(secret):
    config = parse(json.dumps({"redisHost": "h", "redisPassword": secret}))
    assert config.driver == (f"redis://:{quote(secret, safe='')}@h",)
    assert "s3cret" not in spoken(json.dumps({"redisHost": "h", "redisPassword": secret}))


@pytest.mark.parametrize("where", ["https", "server.https"])
@given(secret=SECRET, broken=st.booleans())
def test_a_passphrase_is_never_shown(where, secret, broken):
    https = {"passphrase": [secret] if broken else secret, "key": "k", "cert": "c", "bind": "::"}
    raw = {"https": https} if where == "https" else {"server": {"https": https}}
    said = spoken(json.dumps(raw))
    assert "s3cret" not in said


def spoken(text: str, environ: Mapping[str, str] | None = None) -> str:
    """All that anybody gets to read about this configuration."""
    try:
        config = parse(text, environ=environ)
        drivers = shown(config)
    except ConfigError as exc:
        said = str(exc)
    else:
        return "\n".join((render(config), render(config, drivers=drivers), *config.warnings))
    assert said.isprintable()
    return said
