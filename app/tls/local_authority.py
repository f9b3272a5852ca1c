"""A CA of this folder's own, for names below `localhost` only: to try TLS on one machine."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

ROOT_LASTS, LEAF_LASTS = timedelta(days=3650), timedelta(days=7)
AHEAD = timedelta(hours=1)
"""What other clocks may be behind."""
ONLY_FOR = "localhost"
"""This name and those below it: whatever becomes of the key, it harms nobody else."""


class LocalAuthority:
    """Its root and the root's key, in a folder."""

    def __init__(self, folder: str) -> None:
        """Makes nothing yet."""
        self.root = Path(folder) / "root.pem"
        """What a browser has to trust."""
        self._key = Path(folder) / "root.key"

    @staticmethod
    def possible() -> bool:
        """Whether the library that it needs is installed; `hipache[acme]` brings it."""
        return find_spec("cryptography") is not None

    def issue(self, name: str) -> tuple[str, str]:
        """Certificate and private key (PEM) for `name`. Raises OSError."""
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID

        root, root_key = self._loaded()
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, root.subject, key.public_key(), root_key, LEAF_LASTS)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False
        ).add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        return _signed(builder, root_key), _private_text(key)

    def _loaded(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        if not (self.root.exists() and self._key.exists()):
            self._make()
        root = x509.load_pem_x509_certificate(self.root.read_bytes())
        key = serialization.load_pem_private_key(self._key.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return root, key

    def _make(self) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec

        name = f"Hipache demo CA, {socket.gethostname()[:40]}"
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, None, key.public_key(), key, ROOT_LASTS).add_extension(
            x509.NameConstraints([x509.DNSName(ONLY_FOR)], None), critical=True
        )
        self.root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        private = os.open(self._key, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(private, "w") as file:
            file.write(_private_text(key))
        self.root.write_text(_signed(builder, key))


def _builder(
    name: str,
    issuer: x509.Name | None,
    public: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    lasts: timedelta,
) -> x509.CertificateBuilder:
    """With what each certificate has; without an issuer it is the root."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begins, is_root = datetime.now(UTC) - AHEAD, issuer is None
    usage = x509.KeyUsage(
        digital_signature=not is_root, key_cert_sign=is_root, crl_sign=is_root,
        content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    ours = x509.SubjectKeyIdentifier.from_public_key(public)
    theirs = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    length = 0 if is_root else None
    return (
        x509.CertificateBuilder(issuer or subject, subject, public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + lasts)
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=length), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(ours, critical=False)
        .add_extension(theirs, critical=False)
    )


def _signed(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives import hashes, serialization

    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _private_text(key: ec.EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives import serialization as to

    form, nothing = to.PrivateFormat.PKCS8, to.NoEncryption()
    return key.private_bytes(to.Encoding.PEM, form, nothing).decode()
