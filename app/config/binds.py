"""The sections `http` and `https`: where to listen, and with which certificates. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from .acme import AcmeConfig
from .types import Port, Seconds, Section


class Bind(Section, frozen=True, kw_only=True):
    """One address to listen on."""

    address: str  # an IP address, a name, or unix:/path
    port: Port
    proxy_protocol: bool = False  # a balancer in server.trustedProxies sends its client's address


class HttpConfig(Section, frozen=True, kw_only=True):
    """The `http` object. In the file `bind` is a string, or a list of strings and objects."""

    port: Port = 80  # of every entry that names none
    http2: bool = False  # to clients that begin with it (prior knowledge), beside HTTP/1.1
    binds: tuple[Bind, ...] = msgspec.field(
        default=(Bind(address="127.0.0.1", port=80),), name="bind"
    )


class TLSSettings(Section, frozen=True, kw_only=True):
    """What `https` and each of its `bind` entries may say."""

    key: str | None = None  # path of a PEM file, as cert and ca
    cert: str | None = None  # for clients that name no host, or one without a certificate
    ca: tuple[str, ...] = ()  # authorities for client certificates; also completes our own chain
    client_auth: Literal["none", "optional", "required"] = "none"
    passphrase: str | None = None  # of key
    ciphers: str | None = None  # an OpenSSL list, for TLS 1.2; None means our own
    honor_cipher_order: bool = True
    http2: bool | None = None  # offer h2 by ALPN; None means where the extra http2 is installed
    secure_protocol: str | None = None  # read for Hipache's sake, see NOT_HONOURED
    secure_options: int | None = None


class HttpsBind(TLSSettings, frozen=True, kw_only=True):
    """One address that speaks TLS, with what it inherits from `https` filled in."""

    address: str
    port: Port
    certs: str | None = None  # a folder of certificates, chosen by the name that a client asks for


class HttpsConfig(TLSSettings, frozen=True, kw_only=True):
    """The `https` object: defaults for its `bind` entries. Without any, no TLS is served."""

    port: Port = 443
    certs: str | None = None
    redirect: bool = False  # answer http with a redirect to https
    acme: AcmeConfig = AcmeConfig()
    hsts: Seconds = 0.0  # for how long browsers shall insist on https
    binds: tuple[HttpsBind, ...] = msgspec.field(default=(), name="bind")
