"""Certificates of clients: required, verified, and told to backends."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from tests.redis_servers import RedisServer
from tests.tls.authority import AUTHORITY, listener, shake, shown_to, trusting
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
