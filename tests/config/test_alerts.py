"""What `alerts` may say, and what is shown of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.config.structs import Config, parse, render
from app.errors import ConfigError

URL = "https://chat.example.com/hooks/planted?token=planted"


def parsed(**entry: Any) -> Config:
    return parse(json.dumps({"alerts": [{"url": URL, **entry}]}))


def test_a_receiver_hears_of_everything_where_nothing_is_said() -> None:
    (alert,) = parsed().alerts
    assert alert.on == ("dead", "alive", "certificate", "store")
    assert (alert.pause, alert.secret) == (60.0, None)
    assert alert.url.value.target == b"/hooks/planted?token=planted"
    assert parse("{}").alerts == ()


def test_neither_the_path_nor_the_secret_is_shown() -> None:
    shown = render(parsed(secret="planted-secret"))
    assert "planted" not in shown
    assert json.loads(shown)["alerts"][0]["url"] == "https://chat.example.com/***"


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"url": "ftp://planted"}, "alerts[0].url: this is not the http or https URL"),
        ({"url": "https://u:planted@h/"}, "alerts[0].url: this is not the http or https URL"),
        ({"url": 7}, "alerts[0].url: this is not"),
        ({"on": ["died"]}, "alerts[0].on[0]: "),
        ({"on": []}, "alerts[0].on: expected"),
        ({"secret": "short"}, "alerts[0].secret: expected"),
        ({"pause": 0}, "alerts[0].pause: expected"),
        ({"urls": URL}, "alerts[0].urls: unknown key; did you mean alerts[].url?"),
    ],
)
def test_a_mistake_is_named_without_a_secret(entry: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(**entry)
    assert problem in str(caught.value)
    assert "planted" not in str(caught.value)
