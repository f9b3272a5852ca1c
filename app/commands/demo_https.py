"""TLS for the demo, with a certificate of a CA of its own; and how to make a browser trust it."""

from __future__ import annotations

import shlex

from msgspec.structs import replace

from ..config.binds import HttpsBind
from ..config.structs import Config
from ..server.listeners import ListenAddress
from ..stores import StoreDriver
from ..stores.issuance import OrderEnd, Standing
from ..tls.local_authority import LocalAuthority

WANTED = ListenAddress("127.0.0.1", 8443)
FOLDER = ".hipache/local-ca"
STORE_TIMEOUT = 5.0
"""Seconds for each answer of the store."""


def local_authority(config: Config) -> LocalAuthority:
    """The CA beside this configuration's state."""
    return LocalAuthority(config.places.kept(FOLDER))


def with_https(config: Config, address: ListenAddress) -> Config:
    """The configuration with TLS at `address`, unless it says itself where TLS is served, or no
    certificate can be made."""
    if config.https.binds or not LocalAuthority.possible():
        return config
    bind = HttpsBind(address=address.host, port=address.port)
    return replace(config, https=replace(config.https, binds=(bind,)))


async def put_certificate(config: Config, driver: StoreDriver, host: str) -> bool:
    """Put a certificate for `host` into the demo's store, where all certificates are."""
    pair = local_authority(config).issue(host)
    store = driver.issuance(config.https.acme.folder, timeout=STORE_TIMEOUT)
    try:
        if not await store.hold("demo", STORE_TIMEOUT):
            return False  # another demo of this folder puts its own
        seen = (await store.stands(host) or Standing("")).certificate
        return await store.finish("demo", host, seen, pair, "demo") is OrderEnd.WRITTEN
    finally:
        await store.release("demo")
        await store.aclose()


def over_https(port: int | None, trust: str) -> str:
    """What to type for TLS; `trust` is the command that says how to trust the CA."""
    if port is None:
        return ""
    return f"""
  The same with TLS, once your browser trusts the demo's own CA; the command prints how:
    {trust}
    https://demo.localhost:{port}/
"""


def how_to_trust(authority: LocalAuthority) -> str:
    """Commands that make the programs of this machine trust the CA."""
    root = shlex.quote(str(authority.root))
    return f"""The root of the demo's CA, for names below localhost only: {root}

  curl, for one request:
    curl --cacert {root} https://...

  All programs of a Debian or Ubuntu:
    sudo cp {root} /usr/local/share/ca-certificates/hipache-demo.crt && sudo update-ca-certificates

  All programs of a Fedora or RHEL:
    sudo cp {root} /etc/pki/ca-trust/source/anchors/hipache-demo.pem && sudo update-ca-trust

  Chromium and Chrome (certutil is in libnss3-tools or nss-tools):
    test -e ~/.pki/nssdb/cert9.db ||
      (mkdir -p ~/.pki/nssdb && certutil -d sql:$HOME/.pki/nssdb -N --empty-password)
    certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n hipache-demo -i {root}

  Firefox: Settings, Certificates, View Certificates, Authorities, Import.
"""
