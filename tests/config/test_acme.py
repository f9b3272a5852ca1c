"""What `https.acme` may say."""

from __future__ import annotations

import json

import pytest

from app.config.file import load
from app.config.structs import parse, render
from app.errors import ConfigError

ACME = {"agree": True, "directory": "https://127.0.0.1:1/directory"}


def test_with_it_a_listener_needs_no_certificate() -> None:
    https = {"bind": "127.0.0.1", "acme": ACME}
    config = parse(json.dumps({"https": https}))
    assert config.https.acme.agree
    assert (config.https.acme.wait, config.https.acme.orders_per_hour) == (8.0, 50)
    with pytest.raises(ConfigError, match=r"https\.acme, which .* before its agree is true"):
        parse(json.dumps({"https": https | {"acme": {"agree": False}}}))


def test_nothing_is_agreed_to_by_itself() -> None:
    assert not parse("{}").https.acme.agree


@pytest.mark.parametrize(
    ("acme", "key", "problem"),
    [
        ({"directory": "http://127.0.0.1/dir"}, "directory", "expected an https URL"),
        ({"directory": "https:///dir"}, "directory", "expected an https URL"),
        ({"directory": "https://[/dir"}, "directory", "expected an https URL"),
        ({"directory": "https://[]/dir"}, "directory", "expected an https URL"),
        ({"directory": "https://a.test:x/dir"}, "directory", "expected an https URL"),
        ({"email": "nobody"}, "email", "expected an address of mail"),
        ({"keyType": "dsa"}, "keyType", "nvalid"),
        ({"wait": 9}, "wait", "9"),
        ({"ordersPerHour": 0}, "ordersPerHour", "0"),
        ({"eab": {"kid": "x", "key": "not base64url!"}}, "eab.key", "expected the CA's text"),
        ({"eab": {"kid": "x"}}, "eab", "expected a key key"),
        ({"emial": "a@b.test"}, "emial", "did you mean https.acme.email?"),
    ],
)
def test_what_is_refused(acme: dict[str, object], key: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(json.dumps({"https": {"acme": acme}}))
    assert f"https.acme.{key}: " in str(caught.value)
    assert problem in str(caught.value)


def test_paths_begin_beside_the_file_and_the_keys_where_state_is(tmp_path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"https": {"acme": {"ca": "ca.pem"}}}))
    acme = load(path, {"STATE_DIRECTORY": "/var/lib/x"}, tmp_path).https.acme
    assert (acme.ca, acme.folder) == (f"{tmp_path}/ca.pem", "/var/lib/x/.hipache/acme")


def test_what_a_ca_gave_its_customer_is_shown_to_nobody() -> None:
    eab = {"kid": "me", "key": "c2VjcmV0"}
    shown = render(parse(json.dumps({"https": {"acme": {"eab": eab}}})))
    assert json.loads(shown)["https"]["acme"]["eab"] == {"kid": "***", "key": "***"}
