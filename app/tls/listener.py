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
from ..system.http2_extra import has_http2
from .certificates import (
    CertificateFile,
    CertificateFolder,
    certificate_files,
    covers,
    end_of,
    load_text,
    wildcard,
)
from .client_authorities import ClientAuthorities

logger = logging.getLogger("hipache.tls")

HTTP1, HTTP2 = "http/1.1", "h2"
"""Names of protocols that a client may choose from (ALPN, RFC 7301)."""

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
MakeLookup = Callable[[Callable[[], ssl.SSLContext]], CertificateLookup]
"""Gets the maker of new contexts."""


def new_context(settings: TLSSettings, authorities: ClientAuthorities) -> ssl.SSLContext:
    """A server's context, still without a certificate. Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if settings.honor_cipher_order:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 1  # each costs time; a client that resumes gets a new one
    context.set_alpn_protocols(offered(settings))
    try:
        context.set_ciphers(settings.ciphers or CIPHERS)
    except ssl.SSLError:
        raise ConfigError("https.ciphers: OpenSSL knows none of them") from None
    authorities.add_to(context)
    context.verify_mode = _CLIENT_AUTH[settings.client_auth]
    return context


def offered(settings: TLSSettings) -> list[str]:
    """The protocols that a client may choose from, best first."""
    http2 = has_http2() if settings.http2 is None else settings.http2
    return [HTTP2, HTTP1] if http2 else [HTTP1]


def weak_ciphers(context: ssl.SSLContext) -> list[str]:
    """Ciphers on offer that authenticate badly or are easily broken."""
    return [c["name"] for c in context.get_ciphers() if not c["aead"] or c["strength_bits"] < 128]


class TLSListener:
    """What one `https.bind` entry serves. `current()` goes to the event loop.

    The supervisor makes it, before it gives up root: nobody else needs to read the
    keys, and all workers share the keys of session tickets.
    """

    context: ssl.SSLContext

    def __init__(self, bind: HttpsBind) -> None:
        """Raises ConfigError for what cannot be used."""
        self._bind = bind
        self._authorities = ClientAuthorities(bind.ca)
        self._new = partial(new_context, bind, self._authorities)
        self._default: Callable[[], ssl.SSLContext | None] = lambda: None
        self._makers: list[MakeLookup] = []
        self._sources: list[CertificateLookup] = []
        self._pair: tuple[str, str] | None = None  # the default certificate's text, and its key's
        self._make_context()
        if weak := weak_ciphers(self.context):
            logger.warning("https.ciphers offers weak ones: %s", ", ".join(weak))
        if bind.certs:
            if not os.path.isdir(bind.certs):
                raise ConfigError(f"https.certs: {bind.certs}: no such folder")
            folder = bind.certs
            self.add_source(lambda new: CertificateFolder(new, folder).context)

    def add_source(self, make: MakeLookup) -> None:
        """Add a source of certificates, to be asked after those that are there."""
        self._makers.append(make)
        self._sources.append(make(self._new))

    def current(self) -> ssl.SSLContext:
        """The context for a new connection: it believes the authorities that hold now.

        A change of them makes everything anew, the keys of session tickets as well: a session
        that is resumed does not show its certificate again.
        """
        if self._authorities.changed():
            self._make_context()
            self._sources = [make(self._new) for make in self._makers]
        return self.context

    def _make_context(self) -> None:
        bind, new = self._bind, self._new
        if bind.cert:
            file = CertificateFile()
            source = (new, bind.cert, bind.key, bind.passphrase)
            self.context = self._load_default(file)
            self._default = partial(file.context, *source)
        else:
            self.context = new()
        self.context.sni_callback = self._choose

    def _load_default(self, file: CertificateFile) -> ssl.SSLContext:
        """From its files, or as it was read first: after root is given up they may be closed."""
        bind = self._bind
        assert bind.cert
        try:
            context = file.load(self._new, bind.cert, bind.key, bind.passphrase)
            key = Path(bind.key).read_text("latin-1") if bind.key else ""
            self._pair = Path(bind.cert).read_text("latin-1"), key
        except (ConfigError, OSError):
            if self._pair is None:
                raise
            context = load_text(self._new(), *self._pair, bind.cert, bind.passphrase)
            file.keep(context, bind.cert, bind.key)
        return context

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        """OpenSSL calls this in a handshake; a number is the alert that refuses it."""
        context = self.context_for(name)
        if context is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        if context is not connection.context:  # a change costs a tenth of a handshake
            connection.context = context
        return None

    def context_for(self, name: str | None) -> ssl.SSLContext | None:
        """The exact name's, else its wildcard's, else the default; None if there is none."""
        name = (name or "").lower().removesuffix(".") if self._sources else ""
        return self._own(name) or self._default()

    def has(self, name: str) -> bool:
        """Whether there is a certificate for this name (in lower case), or for its wildcard.

        The default certificate is one if the name stands in it.
        """
        cert = self._bind.cert
        return self._own(name) is not None or (cert is not None and covers(cert, name))

    def _own(self, name: str) -> ssl.SSLContext | None:
        if name and _HOST_NAME.fullmatch(name):
            for candidate in (name, wildcard(name)):
                for source in self._sources:
                    if (context := source(candidate)) is not None:
                        return context
        return None


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
