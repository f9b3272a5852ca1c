"""The one TLS context for backends: made once, shared by all connections."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import cache

from ..config.backend_tls import BackendTLS
from ..errors import ConfigError


def context_source(config: BackendTLS) -> Callable[[], ssl.SSLContext]:
    """A function that returns the context, the same one each time.

    Without files the context is made when the first backend needs it, because reading the
    system's authorities costs some ten milliseconds and a megabyte. Raises ConfigError at
    once where a file cannot be used.
    """
    make = cache(lambda: _context(config))
    if config != BackendTLS():
        make()
    return make


def _context(config: BackendTLS) -> ssl.SSLContext:
    """Verifies certificate and name, unless told not to; TLS 1.2 and later."""
    try:
        context = ssl.create_default_context(cafile=config.ca)
    except OSError as exc:
        raise _fault("ca", config.ca, exc) from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
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
