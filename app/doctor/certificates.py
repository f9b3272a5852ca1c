"""The certificates that clients see: when they expire, and whether they can be used."""

from __future__ import annotations

import os
import shlex
import ssl
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ..config.structs import Config
from ..errors import ConfigError
from ..tls.certificates import certificate_files, load
from ..tls.listener import TLSListener, expiries
from .findings import Finding, Severity

SOON = timedelta(days=21)
"""Let's Encrypt certificates are renewed 30 days before expiry: this is past that."""


def look(config: Config) -> Iterator[Finding]:
    """Check every certificate file of the configuration."""
    for index, bind in enumerate(config.https.binds):
        try:
            TLSListener(bind)
        except ConfigError as exc:
            yield Finding(
                Severity.ERROR, "certificate-unusable", f"https.bind[{index}]", str(exc),
                "'hipache serve' does not start.",
                advice="Put a certificate and its key there, in PEM format. The user who starts "
                "the proxy must be able to read them.",
            )  # fmt: skip
    files = {bind.cert: bind.key for bind in config.https.binds if bind.cert}
    folders = {bind.certs for bind in config.https.binds if bind.certs}
    for path, until in expiries(config.https.binds):
        renew = f"openssl x509 -noout -issuer -subject -enddate -in {shlex.quote(path)}"
        if isinstance(until, datetime):
            yield from of_expiry(path, until, renew)
        if path not in files:
            yield from _of_pair(Path(path))
    for folder in filter(_is_folder, folders):
        files |= {str(cert): str(_key_of(cert)) for cert in certificate_files(folder)}
    for key in sorted({key or cert for cert, key in files.items()}):
        yield from _of_secrecy(Path(key))


def _is_folder(path: str) -> bool:
    return os.path.isdir(path)


def _key_of(cert: Path) -> Path:
    return cert.with_suffix(".key") if cert.suffix == ".crt" else cert


def _of_pair(cert: Path) -> Iterator[Finding]:
    """Check a file of a folder. A fault affects only its own names, and shows in a handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        load(context, str(cert), str(_key_of(cert)) if _key_of(cert) != cert else None)
    except ConfigError as exc:
        yield unusable(str(cert), str(exc))


def unusable(subject: str, reason: str, mend: str = "") -> Finding:
    """A certificate that cannot be loaded. `mend` is a command that writes a new one."""
    return Finding(
        Severity.ERROR, "certificate-unusable", subject, reason.removeprefix(f"{subject}: "),
        "Clients that ask for its names get another certificate, or none.",
        mend, "Put a certificate and its key there, in PEM format."
        + (" If they are in two files:" if mend else ""),
    )  # fmt: skip


def of_expiry(
    subject: str, until: datetime, show: str, now: datetime | None = None
) -> Iterator[Finding]:
    """Check the expiry. `show` is a command that shows the issuer, or writes a new certificate."""
    left = until - (now or datetime.now(UTC))
    if left > SOON:
        return
    expired = left < timedelta(0)
    when = f"{until:%Y-%m-%d %H:%M} UTC"
    yield Finding(
        Severity.ERROR if expired else Severity.WARNING, "certificate-expiry", subject,
        f"the certificate {'expired' if expired else 'expires'} on {when}"
        + ("" if expired else f", in {left.days} days"),
        "Browsers refuse to open its sites" + (" now." if expired else " from then on."),
        show,
        "Get a new one from its issuer and write it to the same place. The next handshake uses it, "
        "without a restart.",
    )  # fmt: skip


def _of_secrecy(key: Path) -> Iterator[Finding]:
    try:
        mode = key.stat().st_mode
    except OSError:
        return
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        yield Finding(
            Severity.WARNING, "key-readable", str(key), "every user of this machine can read it",
            "It holds a private key: anyone who has it can impersonate your sites.",
            f"chmod o-rwx {shlex.quote(str(key))}",
        )  # fmt: skip
