"""The flags of configurable-http-proxy, checked, and the configuration that they come to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..config.binds import HttpsBind
from ..config.structs import Config, parse
from ..errors import ConfigError
from ..fields.names import TOKEN
from ..server.listeners import ListenAddress
from .hub_observer import Rewriting
from .hub_pages import check_error_target

EVERYBODY = ["0.0.0.0/0", "::/0", "unix:"]
"""Whose `X-Forwarded-*` is believed: configurable-http-proxy adds to what anybody sends."""
MANY = 1_000_000
"""Connections to one target: node keeps no count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secured:
    """The files for TLS on one listener."""

    key: str | None = None
    cert: str | None = None
    ca: str | None = None
    request_cert: bool = False
    reject_unauthorized: bool = False
    passphrase: str | None = None
    ciphers: str | None = None

    def bind(self, flag: str) -> HttpsBind | None:
        """What the listener serves; None without TLS. `flag` begins the names of the flags.

        Raises ConfigError.
        """
        if self.key is None and self.cert is None:
            if self.ca or self.request_cert:
                raise ConfigError(f"--{flag}-ca and --{flag}-request-cert need --{flag}-cert")
            return None
        if self.cert is None:
            raise ConfigError(f"--{flag}-key needs --{flag}-cert")
        if self.request_cert and self.ca is None:
            raise ConfigError(f"--{flag}-request-cert needs --{flag}-ca")
        required = "required" if self.reject_unauthorized else "optional"
        return HttpsBind(
            address="", port=0, key=self.key, cert=self.cert, passphrase=self.passphrase,
            ca=(self.ca,) if self.ca and self.request_cert else (), ciphers=self.ciphers,
            client_auth=required if self.request_cert else "none",  # type: ignore[arg-type]
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ChpOptions:
    """What `hipache chp` was started with. Times are seconds."""

    public: tuple[ListenAddress, ...]
    api: tuple[ListenAddress, ...]
    metrics: tuple[ListenAddress, ...] = ()
    redirects: tuple[ListenAddress, ...] = ()
    redirect_to: int = 443
    tls: Secured = Secured()
    api_tls: Secured = Secured()
    client_tls: Secured = Secured()
    insecure: bool = False
    token: str | None = None
    default_target: str | None = None
    error_target: str | None = None
    error_path: str | None = None
    host_routing: bool = False
    rewriting: Rewriting = field(default_factory=Rewriting)
    timeout: float = 0.0
    proxy_timeout: float = 0.0
    keep_alive_timeout: float | None = None
    storage: str | None = None
    """URL of the store that keeps the routes; None: this process does."""
    pid_file: str | None = None
    log_level: str = "info"

    def checked(self) -> ChpOptions:
        """The same. Raises ConfigError for what does not go together."""
        if self.error_target is not None and self.error_path is not None:
            raise ConfigError("--error-target and --error-path do not go together: take one")
        if self.error_target is not None:
            try:
                check_error_target(self.error_target)
            except Exception as exc:
                raise ConfigError(f"--error-target: {exc}") from exc
        if self.redirects and self.tls.cert is None:
            raise ConfigError("--redirect-port needs --ssl-cert: it leads to https")
        return self

    def config(self) -> Config:
        """The proxy's configuration. Raises ConfigError."""
        idle = min((each for each in (self.timeout, self.proxy_timeout) if each), default=0.0)
        server: dict[str, Any] = {
            "accessLog": "stdout" if self.log_level == "debug" else None,
            "debug": self.log_level == "debug", "statusSocket": None, "snapshot": None,
            "flightRecorder": False, "retryOnError": 0, "maxSockets": MANY, "tcpTimeout": idle,
            "maxLoopLag": 0, "trustedProxies": EVERYBODY,
        }  # fmt: skip
        if self.keep_alive_timeout is not None:
            server["keepAliveTimeout"] = self.keep_alive_timeout
        if self.timeout:
            kept = server.get("keepAliveTimeout", self.timeout)
            server["keepAliveTimeout"] = min(kept, self.timeout)
        client = self.client_tls
        ours = {"ca": client.ca, "cert": client.cert, "key": client.key}
        file = {
            # No store is opened. Its name tells this proxy from others in `Via`.
            "driver": f"embedded:chp-{self.public[0]}",
            "server": server, "admin": {"bind": None}, "user": None,
            "backendTLS": {**ours, "verify": not self.insecure},
        }  # fmt: skip
        return parse(json.dumps(file), source="chp")


def custom_fields(texts: tuple[str, ...]) -> Mapping[bytes, bytes]:
    """What `--custom-header` says, by the name in lower case. Raises ConfigError.

    >>> custom_fields((" K : host:123 ",))
    {b'k': b'host:123'}
    """
    found: dict[bytes, bytes] = {}
    for text in texts:
        name, colon, value = (part.strip() for part in text.partition(":"))
        if not colon or not name:
            raise ConfigError(f"--custom-header: a colon was expected in custom header: {text}")
        if name.encode("utf-8").strip(TOKEN) or any(c < " " and c != "\t" for c in value):
            raise ConfigError(f"--custom-header: no field of HTTP: {text!r}")
        try:
            found[name.lower().encode("ascii")] = value.encode("latin-1")
        except UnicodeEncodeError:
            raise ConfigError(f"--custom-header: no field of HTTP: {text!r}") from None
    return found


def addresses(ip: str | None, port: int) -> tuple[ListenAddress, ...]:
    """Where to listen. Without an address, with `*` and with `::`, as in Node, on both families."""
    if ip in {None, "", "*", "::", "[::]"}:
        return ListenAddress("0.0.0.0", port), ListenAddress("::", port)
    assert ip is not None
    return (ListenAddress(ip.strip("[]"), port),)


def moved(addresses_of: tuple[ListenAddress, ...], port: int) -> tuple[ListenAddress, ...]:
    """The same with another port."""
    return tuple(replace(each, port=port) for each in addresses_of)
