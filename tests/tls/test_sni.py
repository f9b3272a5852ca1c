"""Which certificate a name is shown (Server Name Indication), and when a changed file counts."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import pytest

from app.config.structs import parse
from app.tls.listener import TLSListener
from tests.tls.authority import EXACT, OTHER, WILD, chain, listener, private, shake, shown_to, write


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("a.test", "a.test"),
        ("A.Test", "a.test"),
        ("b.wild.test", "*.wild.test"),
        ("exact.wild.test", "a.test"),
        ("b.c.wild.test", "default.test"),
        ("unknown.test", "default.test"),
        (None, "default.test"),
    ],
)
def test_the_folder_has_a_certificate_for_a_name(
    asked: str | None, shown: str, tmp_path: Path
) -> None:
    write(tmp_path, "a.test", EXACT)
    write(tmp_path, "_.wild.test", WILD)
    (tmp_path / "exact.wild.test.pem").write_bytes(chain(EXACT) + private(EXACT))
    assert shown_to(listener(tmp_path), asked) == shown


def test_a_name_that_is_no_host_name_reaches_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    folder.mkdir()
    write(tmp_path, "secret", EXACT)
    server = listener(folder)
    assert server.context_for("../secret") is server.context_for(None)


def test_a_changed_file_serves_the_next_handshake(tmp_path: Path) -> None:
    server = listener(tmp_path)
    write(tmp_path, "a.test", EXACT)
    assert shown_to(server, "a.test") == "a.test"
    write(tmp_path, "a.test", OTHER)
    write(tmp_path, "default", OTHER)
    assert shown_to(server, "a.test") == "changed.test"
    assert shown_to(server, None) == "changed.test"


def test_without_a_default_an_unknown_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.test", EXACT)
    https = {"bind": "::", "certs": str(tmp_path)}
    server = TLSListener(parse(json.dumps({"https": https})).https.binds[0])
    assert shown_to(server, "a.test") == "a.test"
    for name in ("b.test", None):
        with pytest.raises(ssl.SSLError):
            shake(server, name)


def test_a_file_of_another_kind_takes_over_and_a_name_without_any_has_the_default(
    tmp_path: Path,
) -> None:
    server = listener(tmp_path)
    pem = tmp_path / "a.test.pem"
    pem.write_bytes(chain(EXACT) + private(EXACT))
    assert shown_to(server, "a.test") == "a.test"
    write(tmp_path, "a.test", OTHER)
    assert shown_to(server, "a.test") == "changed.test"
    (tmp_path / "a.test.crt").unlink()
    pem.unlink()
    assert shown_to(server, "a.test") == "default.test"


def test_a_broken_file_is_named_once_and_the_old_one_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = listener(tmp_path)
    write(tmp_path, "a.test", EXACT)
    assert shown_to(server, "a.test") == "a.test"
    write(tmp_path, "a.test", OTHER, key=False)
    for _ in range(2):
        assert shown_to(server, "a.test") == "a.test"
    assert caplog.text.count("a.test.crt with") == 1
    assert "the key does not fit the certificate" in caplog.text


def test_a_thousand_certificates_are_not_read_before_they_are_asked_for(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"{number}.test.crt").write_text("not read")
    write(tmp_path, "a.test", EXACT)
    server = listener(tmp_path)
    assert shown_to(server, "a.test") == "a.test"
