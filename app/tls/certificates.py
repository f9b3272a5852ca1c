"""Certificates as files or PEM text: load them, notice changes, tell when they end."""

from __future__ import annotations

import base64
import logging
import os
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from ..errors import ConfigError
from ..system.file_stamp import Stamp, stamp_of
from .last_used import LastUsed

logger = logging.getLogger("hipache.tls")

NewContext = Callable[[], ssl.SSLContext]

_CERTIFICATE = re.compile(
    rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----\s+(.+?)\s*-----END", re.S
)


def wildcard(name: str) -> str:
    """The name of the certificate that stands in for that of `name` (RFC 9525 §6.3).

    >>> wildcard("www.example.com")
    '*.example.com'
    """
    return f"*.{name.partition('.')[2]}"


def load(
    context: ssl.SSLContext, cert: str, key: str | None = None, passphrase: str | None = None
) -> ssl.SSLContext:
    """Put a chain and its key (None: in the same file) into `context`, and return it.

    Raises ConfigError naming the file and what is wrong with it.
    """
    locked, names = False, f"{cert} with {key}" if key else cert
    for path in filter(None, (cert, key)):
        try:
            locked = b"ENCRYPTED" in Path(path).read_bytes()
        except OSError as exc:
            raise ConfigError(f"{path}: {exc.strerror}") from None
    try:
        # Without a callback OpenSSL would ask the terminal for a passphrase.
        context.load_cert_chain(cert, key, password=lambda: passphrase or "")
    except ssl.SSLError as exc:
        raise ConfigError(f"{names}: {_reason(exc, locked)}") from None
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{names}: {exc}") from None
    return context


def _reason(exc: ssl.SSLError, locked: bool = False) -> str:
    match exc.reason:
        case "KEY_VALUES_MISMATCH" | "X509_KEY_VALUES_MISMATCH":
            return "the key does not fit the certificate"
        case _ if locked:
            return "the passphrase does not open the key"
        case None | "PEM_LIB" | "NO_START_LINE":
            return "not a certificate and key in PEM form"
        case reason:
            return reason.lower().replace("_", " ")


def load_text(
    context: ssl.SSLContext, certificate: str, key: str, name: str, passphrase: str | None = None
) -> ssl.SSLContext:
    """The same for PEM text; errors call it `name`.

    OpenSSL reads only files. This file is in memory and never touches a disk.
    """
    with in_memory(f"{certificate}\n{key}\n".encode()) as path:
        try:
            context.load_cert_chain(path, password=lambda: passphrase or "")
        except ssl.SSLError as exc:
            raise ConfigError(f"{name}: {_reason(exc)}") from None
        except (OSError, ValueError) as exc:
            raise ConfigError(f"{name}: {exc}") from None
    return context


@contextmanager
def in_memory(data: bytes) -> Iterator[str]:
    """The path of a file with this content, for OpenSSL."""
    fd = os.memfd_create("certificate")
    try:
        os.write(fd, data)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


class CertificateFile:
    """A chain and key on disk: read when first used, and again when one of them changed.

    A broken change is refused and logged once; the old certificate stays. There may be
    many: OpenSSL needs 20 KB for each, so we add little, not even the names.
    """

    __slots__ = ("_context", "_seen")

    def __init__(self) -> None:
        self._seen = 0  # the hash of the files' stamps when they were last read
        self._context: ssl.SSLContext | None = None

    def load(
        self, new: NewContext, cert: str, key: str | None = None, passphrase: str | None = None
    ) -> ssl.SSLContext:
        """Read it now. Raises ConfigError."""
        self._seen = hash(_stamps(cert, key))
        self._context = load(new(), cert, key, passphrase)
        return self._context

    def keep(self, context: ssl.SSLContext, cert: str, key: str | None = None) -> None:
        """Use this one until the files change."""
        self._seen, self._context = hash(_stamps(cert, key)), context

    def context(
        self, new: NewContext, cert: str, key: str | None = None, passphrase: str | None = None
    ) -> ssl.SSLContext | None:
        """The present one, or the last good one; None if none was good."""
        stamps, known = _stamps(cert, key), self._context
        if known is not None and None in stamps:
            return known  # removed, or unreadable since we gave up root
        if hash(stamps) != self._seen:
            try:
                self.load(new, cert, key, passphrase)
                if known is not None:
                    logger.info("certificate reloaded file=%s", cert)
            except ConfigError as exc:
                stays = "the old one stays" if known else "it is not used"
                logger.error("certificate refused, %s: %s", stays, exc)
        return self._context


def _stamps(cert: str, key: str | None) -> tuple[object, ...]:
    """Values that change with the files; None for a missing one."""
    return (stamp_of(cert),) if key is None else (stamp_of(cert), stamp_of(key))


class CertificateFolder:
    """`name.crt` with `name.key`, or `name.pem` with both, each read when first asked for.

    `*.example.com` is the file name of a wildcard, or `_.example.com`, which needs no
    quotes in a shell.
    """

    def __init__(self, new: NewContext, folder: str, most: int = 0) -> None:
        """`most`: contexts to keep; 0: all that are in use."""
        self._new = new
        self._folder = folder
        self._files = LastUsed[CertificateFile](most)

    def context(self, name: str) -> ssl.SSLContext | None:
        """The context for exactly this name (a checked host name, or `*.` and one)."""
        for stem in (name, f"_{name[1:]}") if name.startswith("*") else (name,):
            path = os.path.join(self._folder, stem)
            for cert, key in ((f"{path}.crt", f"{path}.key"), (f"{path}.pem", None)):
                if os.path.exists(cert):
                    file = self._files.get(name) or CertificateFile()
                    self._files.use(name, file)
                    return file.context(self._new, cert, key)
        self._files.drop(name)
        return None


def certificate_files(folder: str) -> list[Path]:
    """Every certificate of the folder."""
    return sorted(p for p in Path(folder).iterdir() if p.suffix in (".crt", ".pem"))


def end_of(path: str) -> datetime | str:
    """When the certificate in this file ends, or why that is unknown."""
    return _end_of(path, stamp_of(path))


@lru_cache(maxsize=10_000)
def _end_of(path: str, stamp: Stamp) -> datetime | str:
    """`stamp` is part of the cache's key: a changed file is read again."""
    try:
        return expiry(Path(path).read_bytes())
    except (OSError, ValueError, IndexError) as exc:
        return str(exc)


def covers(path: str, name: str) -> bool:
    """Whether the certificate in this file is one for `name` (in lower case). Needs `cryptography`.

    What cannot be read covers nothing.
    """
    names = _names_in(path, stamp_of(path))
    return name in names or wildcard(name) in names


@lru_cache(maxsize=100)
def _names_in(path: str, stamp: Stamp) -> frozenset[str]:
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(Path(path).read_bytes())
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (OSError, ValueError, x509.ExtensionNotFound):
        return frozenset()
    return frozenset(map(str.lower, found.value.get_values_for_type(x509.DNSName)))


def expiry(pem: bytes) -> datetime:
    """When the first certificate of `pem` ends. Raises ValueError where there is none.

    ssl has no public way to ask for this, so we walk to `notAfter` (RFC 5280 §4.1).
    """
    match = _CERTIFICATE.search(pem)
    if match is None:
        raise ValueError("no certificate in it")
    body = _content(_content(base64.b64decode(match[1])))
    if body[0] == 0xA0:  # the version
        body = _behind(body)
    validity = _content(_behind(_behind(_behind(body))))  # serial, signature, issuer
    until = _behind(validity)
    text = _content(until).decode("ascii")
    if until[0] == 0x17:  # UTCTime has two digits of the year: 50 and above are 19..
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _header(der: bytes) -> tuple[int, int]:
    """Where the content of the first DER element begins, and where it ends (X.690 §8.1)."""
    size, start = der[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(der[2:start])
    return start, start + size


def _content(der: bytes) -> bytes:
    start, end = _header(der)
    return der[start:end]


def _behind(der: bytes) -> bytes:
    return der[_header(der)[1] :]
