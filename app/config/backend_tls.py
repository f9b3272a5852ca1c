"""The section `backendTLS`: TLS towards backends. Pure."""

from __future__ import annotations

from .types import Section


class BackendTLS(Section, frozen=True, kw_only=True):
    """The `backendTLS` object: the authorities for `https://` backends, and our own certificate."""

    ca: str | None = None  # path of a PEM file; None means the system's authorities
    cert: str | None = None  # path of our certificate chain (PEM), for backends that ask for one
    key: str | None = None  # path of its private key; None means that it is in cert
    verify: bool = True  # false trusts anybody
