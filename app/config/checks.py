"""Values of the configuration that a type cannot describe. Each check raises ConfigError."""

from __future__ import annotations

import re
from ipaddress import ip_address

from ..fields.names import HOP_BY_HOP
from ..masking import show
from .acme import AcmeConfig
from .binds import HttpsBind
from .messages import fault

FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2


def check_address(address: str, source: str, path: str) -> None:
    """Raises ConfigError if `address` is none to listen at."""
    try:
        ip_address(address)
    except ValueError:
        if not re.fullmatch(r"unix:/[^\0]+|[A-Za-z0-9_.-]+", address):
            expected = "expected an IP address, a host name or unix:/path"
            raise fault(source, path, f"{expected}, found {show(address)}") from None


def check_tls(bind: HttpsBind, source: str, path: str, *, acme: AcmeConfig) -> None:
    """Raises ConfigError for an https listener without a certificate, or without a ca it needs.

    `acme`: with `agree` certificates come by themselves.
    """
    if bool(bind.key) != bool(bind.cert) or not (bind.cert or bind.certs or acme.agree):
        ways = "expected a key and a cert for TLS, a folder as https.certs, or https.acme"
        hint = "which orders nothing before its agree is true"
        raise fault(source, path, f"{ways}, {hint}")
    if bind.client_auth != "none" and not bind.ca:
        raise fault(source, path, "expected a ca that signs the certificates of clients")


def check_id_field(name: str | None, source: str) -> None:
    """Raises ConfigError if answers cannot have a field of this name beside their own."""
    framing = {"content-length", "content-type", "set-cookie", *map(bytes.decode, HOP_BY_HOP)}
    if name is not None and (not FIELD_NAME.fullmatch(name) or name.lower() in framing):
        expected = "expected the name of a field of its own, such as X-Request-Id"
        raise fault(source, "server.requestIdHeader", f"{expected}, found {show(name)}")


def check_health_check(path: str | None, source: str) -> None:
    """Raises ConfigError for a path that cannot be sent in a request."""
    if path is not None and not re.fullmatch(r"/[!-~]*", path):
        raise fault(source, "healthCheck.path", f"expected a path like /health, found {show(path)}")


def whole_number(text: str, source: str, *, low: int, high: int) -> int:
    """A number from the environment. Raises ConfigError naming the variable `source`."""
    if re.fullmatch(r"[0-9]{1,9}", text) and low <= int(text) <= high:
        return int(text)
    raise fault(source, "", f"expected a whole number from {low} to {high}, found {show(text)}")
