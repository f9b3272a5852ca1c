"""A CA for names below `localhost`."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from app.tls.certificates import load_text
from app.tls.local_authority import LocalAuthority


def shake(pair: tuple[str, str], root: Path, name: str) -> None:
    """A handshake in memory with a client that trusts the root, and is strict."""
    server = load_text(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), *pair, name="it")
    client = ssl.create_default_context(cafile=str(root))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    waiting = [
        client.wrap_bio(down, up, server_hostname=name),
        server.wrap_bio(up, down, server_side=True),
    ]
    while waiting:
        end = waiting.pop(0)
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(end)


def test_its_certificates_are_trusted_by_those_who_trust_its_root(tmp_path: Path) -> None:
    authority = LocalAuthority(str(tmp_path / "ca"))
    shake(authority.issue("demo.localhost"), authority.root, "demo.localhost")
    root = authority.root.read_bytes()
    again = LocalAuthority(str(tmp_path / "ca"))
    shake(again.issue("a.demo.localhost"), again.root, "a.demo.localhost")
    assert again.root.read_bytes() == root


def test_it_can_vouch_for_nobody_else(tmp_path: Path) -> None:
    authority = LocalAuthority(str(tmp_path))
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree"):
        shake(authority.issue("www.example.test"), authority.root, "www.example.test")


def test_its_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    LocalAuthority(str(tmp_path / "ca")).issue("demo.localhost")
    assert (tmp_path / "ca").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "ca/root.key").stat().st_mode & 0o777 == 0o600
