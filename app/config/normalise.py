"""Writes out the short forms of a configuration, and lays the environment over it. Pure.

This works on what JSON gave, before types are checked. A value of the wrong
type stays as it is, so that the check names it as the file has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .checks import whole_number

# What an entry of `https.bind` takes from `https`, as in Hipache 0.4.
INHERITED = frozenset(
    {
        "port",
        "key",
        "cert",
        "ca",
        "certs",
        "clientAuth",
        "passphrase",
        "ciphers",
        "honorCipherOrder",
        "http2",
        "secureProtocol",
        "secureOptions",
    }
)


def overlay(raw: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Put what the platform's environment says over what the file says."""
    if url := environ.get("REDIS_URL"):
        raw["driver"] = [url]
    http, server = raw.setdefault("http", {}), raw.setdefault("server", {})
    if (text := environ.get("PORT")) and isinstance(http, dict):
        http["port"] = whole_number(text, "$PORT", low=0, high=65535)
        http.setdefault("bind", ["0.0.0.0"])
    if (text := environ.get("WEB_CONCURRENCY")) and isinstance(server, dict):
        server["workers"] = whole_number(text, "$WEB_CONCURRENCY", low=1, high=1024)


def write_out(raw: dict[str, Any]) -> None:
    """Make lists of single values; give `bind` entries their port and, for TLS, what they inherit.

    What has the wrong type stays as it is, for `convert` to name. `bind` moves
    to the end, so that a wrong port is named where it was written.
    """
    if isinstance(raw.get("driver"), str):
        raw["driver"] = [raw["driver"]]
    for section, port in (("http", 80), ("https", 443)):
        values = raw.setdefault(section, {})
        if not isinstance(values, dict):
            continue
        if isinstance(values.get("ca"), str):
            values["ca"] = [values["ca"]]
        binds = values.pop("bind", ["127.0.0.1"] if section == "http" else [])
        inherited = {"port": port} | values
        known = INHERITED if section == "https" else {"port"}
        inherited = {name: value for name, value in inherited.items() if name in known}
        binds = binds if isinstance(binds, list) else [binds]
        values["bind"] = [_inherit(bind, inherited) for bind in binds]


def _inherit(bind: Any, inherited: dict[str, Any]) -> Any:
    bind = {"address": bind} if isinstance(bind, str) else bind
    if not isinstance(bind, dict):
        return bind
    if isinstance(bind.get("ca"), str):
        bind = bind | {"ca": [bind["ca"]]}
    if bind.get("key", inherited.get("key")) != inherited.get("key"):
        # The passphrase belongs to the section's key, not to this one.
        inherited = {name: value for name, value in inherited.items() if name != "passphrase"}
    return inherited | bind
