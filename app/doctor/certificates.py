"""Certificates towards clients: until when they hold, and whether they can be used at all."""

from __future__ import annotations

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
"""Let's Encrypt renews with 30 days left: what has less has missed its renewal."""


def look(config: Config) -> Iterator[Finding]:
    """What is wrong with every certificate file of the configuration."""
    for index, bind in enumerate(config.https.binds):
        try:
            TLSListener(bind)
        except ConfigError as exc:
            yield Finding(
                Severity.ERROR, "certificate-unusable", f"https.bind[{index}]", str(exc),
                "'hipache serve' does not start.",
                advice="Put a certificate and its key there, in PEM form, readable for whoever "
                "starts the proxy.",
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
    return Path(path).is_dir()


def _key_of(cert: Path) -> Path:
    return cert.with_suffix(".key") if cert.suffix == ".crt" else cert


def _of_pair(cert: Path) -> Iterator[Finding]:
    """A file of a folder: its fault costs its own names only, and shows in a handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        load(context, str(cert), str(_key_of(cert)) if _key_of(cert) != cert else None)
    except ConfigError as exc:
        yield unusable(str(cert), str(exc))


def unusable(subject: str, reason: str, mend: str = "") -> Finding:
    """`mend`: a command that writes a new one."""
    return Finding(
        Severity.ERROR, "certificate-unusable", subject, reason.removeprefix(f"{subject}: "),
        "Clients that ask for its names get another certificate, or none.",
        mend, "Put a certificate and the key that belongs to it there, in PEM form."
        + (" With them in two files:" if mend else ""),
    )  # fmt: skip


def of_expiry(
    subject: str, until: datetime, show: str, now: datetime | None = None
) -> Iterator[Finding]:
    """`show`: a command that tells who issued it, or writes a new one."""
    left = until - (now or datetime.now(UTC))
    if left > SOON:
        return
    over = left < timedelta(0)
    when = f"{until:%Y-%m-%d %H:%M} UTC"
    yield Finding(
        Severity.ERROR if over else Severity.WARNING, "certificate-expiry", subject,
        f"the certificate {'ended' if over else 'ends'} on {when}"
        + ("" if over else f", in {left.days} days"),
        "Browsers refuse to open its sites" + (" now." if over else " from then on."),
        show,
        "Whoever issued it has to issue a new one. Written to the same place it is used with the "
        "next handshake, without a restart.",
    )  # fmt: skip


def _of_secrecy(key: Path) -> Iterator[Finding]:
    try:
        mode = key.stat().st_mode
    except OSError:
        return
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        yield Finding(
            Severity.WARNING, "key-readable", str(key), "every user of this machine can read it",
            "It holds a private key: who has it can pretend to be your sites.",
            f"chmod o-rwx {shlex.quote(str(key))}",
        )  # fmt: skip
