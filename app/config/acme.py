"""The section `https.acme`: certificates that the proxy gets by itself (RFC 8555). Pure."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from ..masking import masked_url, show
from .messages import fault
from .types import Section

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"


class ExternalAccount(Section, frozen=True, kw_only=True):
    """What a CA gave its customer to bind an ACME account to (RFC 8555 §7.3.4)."""

    kid: str
    key: str  # base64url, as the CA shows it


class AcmeConfig(Section, frozen=True, kw_only=True):
    """The `https.acme` object. Nothing is ordered before `agree`."""

    agree: bool = False  # to the terms of the CA
    directory: str = LETS_ENCRYPT  # the CA's URL
    email: str | None = None  # where the CA writes to
    ca: str | None = None  # PEM that signs the directory's own TLS; None: what is well known
    key_type: Literal["ec256", "rsa2048"] = "ec256"
    profile: str | None = None  # one of those that the CA offers
    eab: ExternalAccount | None = None
    wait: Annotated[float, Meta(ge=0, le=8)] = 8.0  # of the first handshake for a new name
    orders_per_hour: Annotated[int, Meta(ge=1, le=100_000)] = 50  # of all proxies together
    folder: str = ".hipache/acme"  # where keys are kept if the store holds no certificates


def check_acme(acme: AcmeConfig, source: str) -> None:
    """Raises ConfigError for values that no CA could be asked with."""
    if not _is_https(acme.directory):
        found = show(masked_url(acme.directory))
        raise fault(source, "https.acme.directory", f"expected an https URL, found {found}")
    if acme.email is not None and not re.fullmatch(r"[!-~]+@[!-~]+", acme.email):
        expected = f"expected an address of mail, found {show(acme.email)}"
        raise fault(source, "https.acme.email", expected)
    if acme.eab is not None and not re.fullmatch(r"[A-Za-z0-9_-]+=*", acme.eab.key):
        raise fault(source, "https.acme.eab.key", "expected the CA's text, which is base64url")


def _is_https(text: str) -> bool:
    """Whether it is a URL with a host that can be asked over TLS."""
    try:
        url = urlsplit(text)
        return url.scheme == "https" and bool(url.hostname) and url.port != 0 and text.isprintable()
    except ValueError:  # brackets around nothing, a port that is no number
        return False
