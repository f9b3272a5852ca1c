"""The TLS contexts for backends: each made once, shared by all connections."""

from __future__ import annotations

import ssl
from functools import cache, partial
from typing import Protocol

from ..config.backend_tls import BackendTLS
from ..errors import ConfigError
from ..system.http2_extra import has_http2


class ContextSource(Protocol):
    """Gives a context, the same one each time."""

    def __call__(self, *, http2: bool = False) -> ssl.SSLContext:
        """With `http2` it offers HTTP/2 before HTTP/1.1 (ALPN), if that is installed."""


def context_source(config: BackendTLS) -> ContextSource:
    """A source of contexts for `config`.

    Without files a context is made when the first backend needs it, because reading the
    system's authorities costs some ten milliseconds and a megabyte. Raises ConfigError at
    once where a file cannot be used.
    """
    make = cache(partial(_context, config))
    if config != BackendTLS():
        make()
        make(http2=True)  # a worker may have no right to read the files later
    return make


def _context(config: BackendTLS, *, http2: bool = False) -> ssl.SSLContext:
    """Verifies certificate and name, unless told not to; TLS 1.2 and later."""
    try:
        context = ssl.create_default_context(cafile=config.ca)
    except OSError as exc:
        raise _fault("ca", config.ca, exc) from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"] if http2 and has_http2() else ["http/1.1"])
    if not config.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if config.cert is not None:
        try:
            # Without a password, OpenSSL would ask the terminal for one and wait.
            context.load_cert_chain(config.cert, config.key, password=lambda: "")
        except OSError as exc:
            raise _fault("cert", config.cert, exc) from exc
    return context


def _fault(key: str, path: str | None, exc: OSError) -> ConfigError:
    return ConfigError(f"backendTLS.{key}: {path}: {exc.strerror or exc}")
