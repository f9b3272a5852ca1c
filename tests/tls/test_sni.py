"""Which certificate a name is shown (Server Name Indication), and when a changed file counts."""

from __future__ import annotations

import json
import ssl
from functools import partial
from pathlib import Path

import pytest

from app.config.structs import parse
from app.tls import last_used
from app.tls.certificates import CertificateFolder
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


def test_one_that_was_removed_or_is_not_used_goes_though_nobody_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = CertificateFolder(partial(ssl.SSLContext, ssl.PROTOCOL_TLS_SERVER), str(tmp_path))
    for name in ("a.test", "b.test", "c.test"):
        write(tmp_path, name, EXACT)
        assert folder.context(name) is not None
    (tmp_path / "a.test.crt").unlink()
    monkeypatch.setattr(last_used, "UNUSED_FOR", -1.0)
    folder.context("c.test")
    folder.context("c.test")
    assert list(folder._files) == ["c.test"]


def test_no_more_are_kept_than_memory_allows(tmp_path: Path) -> None:
    new = partial(ssl.SSLContext, ssl.PROTOCOL_TLS_SERVER)
    folder = CertificateFolder(new, str(tmp_path), most=2)
    for name in ("a.test", "b.test", "c.test"):
        write(tmp_path, name, EXACT)
    first = folder.context("a.test")
    for name in ("b.test", "a.test", "c.test"):
        folder.context(name)
    assert list(folder._files) == ["a.test", "c.test"]
    assert folder.context("a.test") is first


def test_a_thousand_certificates_are_not_read_before_they_are_asked_for(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"{number}.test.crt").write_text("not read")
    write(tmp_path, "a.test", EXACT)
    server = listener(tmp_path)
    assert shown_to(server, "a.test") == "a.test"
