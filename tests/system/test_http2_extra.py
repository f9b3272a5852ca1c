"""The extra `http2` may be missing: all else works, and what insists on it says so."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from app.config.binds import TLSSettings
from app.config.structs import Config, parse
from app.errors import ConfigError
from app.system.http2_extra import check_http2
from app.tls.listener import offered
from tests.processes import ROOT


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """So Python sees a package that is not installed."""
    monkeypatch.setitem(sys.modules, "ngh2", None)  # type: ignore[arg-type]


def config(**sections: Any) -> Config:
    tls = {"bind": "127.0.0.1", "cert": "a", "key": "b"}
    return parse(json.dumps({"https": tls | sections.pop("https", {}), **sections}))


@pytest.mark.usefixtures("missing")
def test_nothing_is_offered_without_it() -> None:
    check_http2(config())
    assert offered(TLSSettings()) == ["http/1.1"]


def test_it_is_offered_where_it_is() -> None:
    check_http2(config(https={"http2": True}, http={"http2": True}))
    assert offered(TLSSettings()) == ["h2", "http/1.1"]
    assert offered(TLSSettings(http2=False)) == ["http/1.1"]


@pytest.mark.usefixtures("missing")
@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"https": {"http2": True}}, "https.http2"),
        ({"https": {"bind": {"address": "127.0.0.1", "http2": True}}}, "https.http2"),
        ({"http": {"http2": True}}, "http.http2"),
    ],
)
def test_what_insists_on_it_says_so(sections: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key} needs the extra http2: pip install"):
        check_http2(config(**sections))


def test_no_part_of_the_proxy_needs_it_to_start() -> None:
    code = "import sys; sys.modules['ngh2'] = None; import app.cli, app.main; app.main.create_app()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
