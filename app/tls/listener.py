"""TLS towards clients: what we offer, and which certificate a handshake gets."""

from __future__ import annotations

import logging
import os
import re
import ssl
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

from ..config.binds import HttpsBind, TLSSettings
from ..errors import ConfigError
from .certificates import CertificateFile, CertificateFolder, certificate_files, end_of, wildcard

logger = logging.getLogger("hipache.tls")

ALPN = ["http/1.1"]
"""What a client may choose from, best first (RFC 7301)."""

# Mozilla's "intermediate" recommendation, version 5.7; TLS 1.3 has its own list.
CIPHERS = ":".join(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
        "DHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-GCM-SHA384",
        "DHE-RSA-CHACHA20-POLY1305",
    )
)  # fmt: skip
_CLIENT_AUTH = {
    "none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED,
}  # fmt: skip
_HOST_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63}){0,15}")

CertificateLookup = Callable[[str], ssl.SSLContext | None]
"""The context for exactly this name (`*.…` is a name, too), or None."""


def new_context(settings: TLSSettings) -> ssl.SSLContext:
    """A server's context, still without a certificate. Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if settings.honor_cipher_order:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 1  # each costs time; a client that resumes gets a new one
    context.set_alpn_protocols(ALPN)
    try:
        context.set_ciphers(settings.ciphers or CIPHERS)
    except ssl.SSLError:
        raise ConfigError("https.ciphers: OpenSSL knows none of them") from None
    for path in settings.ca:
        try:
            context.load_verify_locations(path)
        except (OSError, ssl.SSLError) as exc:
            raise ConfigError(f"https.ca: {path}: {exc.strerror or exc}") from None
    context.verify_mode = _CLIENT_AUTH[settings.client_auth]
    return context


def weak_ciphers(context: ssl.SSLContext) -> list[str]:
    """Ciphers on offer that authenticate badly or are easily broken."""
    return [c["name"] for c in context.get_ciphers() if not c["aead"] or c["strength_bits"] < 128]


class TLSListener:
    """What one `https.bind` entry serves. `context` goes to the event loop.

    The supervisor makes it, before it gives up root: nobody else needs to read the
    keys, and all workers share the keys of session tickets.
    """

    def __init__(self, bind: HttpsBind) -> None:
        """Raises ConfigError for what cannot be used."""
        new = partial(new_context, bind)
        self._new = new
        self._default: Callable[[], ssl.SSLContext | None] = lambda: None
        self._sources: list[CertificateLookup] = []
        if bind.cert:
            file, source = CertificateFile(), (new, bind.cert, bind.key, bind.passphrase)
            self.context = file.load(*source)
            self._default = partial(file.context, *source)
        else:
            self.context = new()
        self.context.sni_callback = self._choose
        if weak := weak_ciphers(self.context):
            logger.warning("https.ciphers offers weak ones: %s", ", ".join(weak))
        if bind.certs:
            if not os.path.isdir(bind.certs):
                raise ConfigError(f"https.certs: {bind.certs}: no such folder")
            self._sources.append(CertificateFolder(new, bind.certs).context)

    def add_source(self, make: Callable[[Callable[[], ssl.SSLContext]], CertificateLookup]) -> None:
        """Add a source, to be asked after the folder; `make` gets the maker of new contexts."""
        self._sources.append(make(self._new))

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        """OpenSSL calls this in a handshake; a number is the alert that refuses it."""
        context = self.context_for(name)
        if context is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        if context is not self.context:  # a change costs a tenth of a handshake
            connection.context = context
        return None

    def context_for(self, name: str | None) -> ssl.SSLContext | None:
        """The exact name's, else its wildcard's, else the default; None if there is none."""
        name = (name or "").lower().removesuffix(".") if self._sources else ""
        if name and _HOST_NAME.fullmatch(name):
            for candidate in (name, wildcard(name)):
                for source in self._sources:
                    if (context := source(candidate)) is not None:
                        return context
        return self._default()


def expiries(binds: Iterable[HttpsBind]) -> Iterator[tuple[str, datetime | str]]:
    """Every certificate file of the configuration, and when it ends or why that is unknown.

    For `hipache doctor` and the metrics. A file is read again only after a change;
    otherwise it costs two microseconds. For certificates in the store see
    `stores.certificates.stored_expiries`.
    """
    files = {Path(bind.cert) for bind in binds if bind.cert}
    for bind in binds:
        if bind.certs and os.path.isdir(bind.certs):
            files.update(certificate_files(bind.certs))
    for path in sorted(files):
        yield str(path), end_of(str(path))
