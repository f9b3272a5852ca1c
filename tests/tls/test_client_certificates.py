"""Certificates of clients: required, verified, and told to backends."""

from __future__ import annotations

import logging
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from tests.redis_servers import RedisServer
from tests.tls.authority import AUTHORITY, EXACT, OTHER, listener, shake, shown_to, trusting, write
from tests.tls.serving import secured


def test_a_client_without_a_certificate_is_refused_where_one_is_required(tmp_path: Path) -> None:
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = listener(tmp_path, ca=f"{tmp_path}/ca.pem", clientAuth="required")
    with pytest.raises(ssl.SSLError, match="did not return a certificate"):
        shake(server, "default.test")
    known = trusting()
    AUTHORITY.issue_cert("me@a.test").configure_cert(known)
    assert shown_to(server, "default.test", known) == "default.test"


async def test_a_client_certificate_is_verified_and_its_subject_passed_on(
    tmp_path: Path, valkey: RedisServer
) -> None:
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with secured(tmp_path, valkey, ca="ca.pem", clientAuth="optional") as here:
        known = trusting()
        AUTHORITY.issue_cert("me@a.test", common_name="me, myself").configure_cert(known)
        assert (await here.get(context=known)).endswith(b"hi")
        assert (await here.get()).endswith(b"hi")
        named, nameless = here.backend.requests
        assert (named.get(b"x-client-cert-subject") or b"").startswith(b"CN=me\\, myself,OU=")
        assert nameless.get(b"x-client-cert-subject") is None
        stranger = trusting()
        trustme.CA().issue_cert("me@a.test").configure_cert(stranger)
        with suppress(ssl.SSLError, ConnectionError):  # or a FIN
            assert await here.get(context=stranger) == b""
        assert len(here.backend.requests) == 2


# Authorities that are replaced.


def knowing(authority: trustme.CA, *, tls13: bool = True) -> ssl.SSLContext:
    """A client with a certificate of `authority`."""
    known = trusting()
    if not tls13:
        known.maximum_version = ssl.TLSVersion.TLSv1_2
    authority.issue_cert("me@a.test").configure_cert(known)
    return known


def replaced(folder: Path, authority: trustme.CA) -> None:
    authority.cert_pem.write_to_path(str(folder / "new"))
    (folder / "new").rename(folder / "ca.pem")


@pytest.mark.parametrize("name", ["default.test", "a.test"])
def test_authorities_that_are_replaced_hold_with_the_next_handshake(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    write(tmp_path, "a.test", EXACT)
    old, new = trustme.CA(), trustme.CA()
    replaced(tmp_path, old)
    server = listener(tmp_path, ca=f"{tmp_path}/ca.pem", clientAuth="required")
    assert shown_to(server, name, knowing(old)) == name
    with pytest.raises(ssl.SSLError):
        shake(server, name, knowing(new))
    replaced(tmp_path, new)
    assert shown_to(server, name, knowing(new)) == name
    with pytest.raises(ssl.SSLError):
        shake(server, name, knowing(old))
    assert caplog.text.count("client authorities reloaded") == 1


def test_a_session_begun_with_a_withdrawn_authority_is_not_resumed(tmp_path: Path) -> None:
    old, new = trustme.CA(), trustme.CA()
    replaced(tmp_path, old)
    server = listener(tmp_path, ca=f"{tmp_path}/ca.pem", clientAuth="required")
    client = knowing(old, tls13=False)
    ended = shake(server, "default.test", client)[0]
    assert shake(server, "default.test", client, ended.session)[0].session_reused
    replaced(tmp_path, new)
    with pytest.raises(ssl.SSLError):
        shake(server, "default.test", client, ended.session)


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_authorities_that_cannot_be_read_are_told_once_and_the_old_ones_stay(
    tmp_path: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    replaced(tmp_path, AUTHORITY)
    server = listener(tmp_path, ca=f"{tmp_path}/ca.pem", clientAuth="required")
    (tmp_path / "ca.pem").unlink()
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    for _ in range(2):
        assert shown_to(server, None, knowing(AUTHORITY)) == "default.test"
        with pytest.raises(ssl.SSLError):
            shake(server, None, knowing(trustme.CA()))
    refused = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert len(refused) == 1
    assert f"the old ones stay: https.ca: {tmp_path}/ca.pem: " in refused[0].getMessage()


def test_a_key_that_can_no_longer_be_read_keeps_serving_when_authorities_change(
    tmp_path: Path,
) -> None:
    new = trustme.CA()
    replaced(tmp_path, AUTHORITY)
    server = listener(tmp_path, ca=f"{tmp_path}/ca.pem", clientAuth="required")
    (tmp_path / "default.key").unlink()
    replaced(tmp_path, new)
    for _ in range(2):
        assert shown_to(server, None, knowing(new)) == "default.test"


def test_a_certificate_is_renewed_while_the_authorities_cannot_be_read(tmp_path: Path) -> None:
    replaced(tmp_path, AUTHORITY)
    server = listener(tmp_path, ca=f"{tmp_path}/ca.pem", clientAuth="required")
    (tmp_path / "ca.pem").unlink()
    write(tmp_path, "default", OTHER)
    assert shown_to(server, None, knowing(AUTHORITY)) == "changed.test"
