"""Whether the engine for HTTP/2 is installed: the extra `http2`."""

from __future__ import annotations

from importlib.util import find_spec

from ..config.structs import Config
from ..errors import ConfigError
from ..frontends.backends import ALPN, HTTP2

ENGINE = "ngh2"
EXTRA = "the extra http2: pip install 'hipache[http2]'"


def has_http2() -> bool:
    """Whether this interpreter can serve HTTP/2."""
    return find_spec(ENGINE) is not None


def lacking(scheme: str) -> str:
    """What a backend of this scheme cannot be asked without; "" where nothing is missing.

    One with TLS has HTTP/1.1 to fall back to.
    """
    if scheme in HTTP2 and scheme != ALPN and not has_http2():
        return f"it needs {EXTRA}"
    return ""


def check_http2(config: Config) -> None:
    """Raises ConfigError if HTTP/2 is wanted and every connection would fail on it."""
    if has_http2():
        return
    wanted = "http.http2" if config.http.http2 else "https.http2"
    if config.http.http2 or config.https.http2 or any(bind.http2 for bind in config.https.binds):
        raise ConfigError(f"{wanted} needs {EXTRA}")
