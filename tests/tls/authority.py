"""Certificates of an authority of our own, and handshakes in memory."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import trustme

from app.config.structs import parse
from app.tls.listener import TLSListener

AUTHORITY = trustme.CA()

DEFAULT, EXACT, WILD, OTHER = (
    AUTHORITY.issue_cert(name) for name in ("default.test", "a.test", "*.wild.test", "changed.test")
)


def write(folder: Path, name: str, cert: trustme.LeafCert, *, key: bool = True) -> None:
    """`name.crt` and `name.key`, each replaced as a whole."""
    for end, data in ((".crt", chain(cert)), (".key", private(cert)))[: 2 if key else 1]:
        new = folder / "new"
        new.write_bytes(data)
        new.rename(folder / f"{name}{end}")


def chain(cert: trustme.LeafCert) -> bytes:
    return b"".join(blob.bytes() for blob in cert.cert_chain_pems)


def private(cert: trustme.LeafCert) -> bytes:
    return cert.private_key_pem.bytes()


def trusting(**options: Any) -> ssl.SSLContext:
    """A client that believes AUTHORITY."""
    context = ssl.create_default_context()
    context.check_hostname = False
    AUTHORITY.configure_trust(context)
    for name, value in options.items():
        setattr(context, name, value)
    return context


def shown_name(connection: ssl.SSLObject | ssl.SSLSocket) -> str:
    """The name in the certificate that the server showed."""
    certificate = connection.getpeercert()
    assert certificate
    return str(certificate["subjectAltName"][0][1])


def listener(folder: Path, **settings: Any) -> TLSListener:
    write(folder, "default", DEFAULT)
    https = {"bind": "::", "certs": str(folder), "cert": f"{folder}/default.crt"}
    https["key"] = f"{folder}/default.key"
    return TLSListener(parse(json.dumps({"https": https | settings})).https.binds[0])


def shown_to(server: TLSListener, name: str | None, client: ssl.SSLContext | None = None) -> str:
    """A handshake in memory."""
    return shown_name(shake(server, name, client)[0])


def shake(
    server: TLSListener,
    name: str | None,
    client: ssl.SSLContext | None = None,
    session: ssl.SSLSession | None = None,
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        (client or trusting()).wrap_bio(down, up, server_hostname=name, session=session),
        server.current().wrap_bio(up, down, server_side=True),
    )
    waiting = list(ends)
    while waiting:
        end = waiting.pop(0)
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(end)
    return ends


def encrypted(key: bytes, passphrase: bytes) -> bytes:
    from cryptography.hazmat.primitives import serialization as s

    loaded = s.load_pem_private_key(key, None)
    form = s.PrivateFormat.TraditionalOpenSSL
    return loaded.private_bytes(s.Encoding.PEM, form, s.BestAvailableEncryption(passphrase))
