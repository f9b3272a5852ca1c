"""What is wrong with a key, a certificate or a setting is told before TLS is served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.config.structs import parse
from app.errors import ConfigError
from tests.tls.authority import DEFAULT, OTHER, encrypted, listener, private, shown_to, write


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"key": "other.key"}, "default.crt with other.key: the key does not fit the certificate"),
        ({"key": "locked.key"}, "the passphrase does not open the key"),
        ({"cert": "gone.crt"}, "gone.crt: No such file or directory"),
        ({"cert": "other.key"}, "not a certificate and key in PEM form"),
        ({"certs": "nowhere"}, "https.certs: nowhere: no such folder"),
        ({"ciphers": "ROT13"}, "https.ciphers: OpenSSL knows none of them"),
        ({"ca": "gone.pem", "clientAuth": "required"}, "https.ca: gone.pem: No such file"),
        ({"clientAuth": "required"}, "expected a ca that signs the certificates of clients"),
    ],
)
def test_what_keeps_tls_from_being_served_is_told_in_one_line(
    change: dict[str, Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.workers.listening import tls_listeners

    monkeypatch.chdir(tmp_path)
    write(tmp_path, "default", DEFAULT)
    write(tmp_path, "other", OTHER)
    locked = private(DEFAULT)
    Path("locked.key").write_bytes(encrypted(locked, b"open sesame"))
    https = {"bind": "::", "key": "default.key", "cert": "default.crt"} | change
    with pytest.raises(ConfigError) as error:
        tls_listeners(parse(json.dumps({"https": https})))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_passphrase_opens_its_key(tmp_path: Path) -> None:
    write(tmp_path, "x", DEFAULT)
    (tmp_path / "locked.key").write_bytes(encrypted(private(DEFAULT), b"open sesame"))
    server = listener(tmp_path, key=f"{tmp_path}/locked.key", passphrase="open sesame")
    assert shown_to(server, None) == "default.test"
