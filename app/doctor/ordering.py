"""Certificates that the proxies order by themselves: what keeps them from it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..config.acme import AcmeConfig
from ..config.structs import Config
from ..errors import HipacheError
from ..masking import printable
from ..stores import driver_of
from ..stores.issuance import IssuanceState
from .findings import Commands, Finding, Severity

STORE_TIMEOUT = 5.0
"""Seconds for each answer of the store."""
CHALLENGE_PORT = 80
"""Where a CA asks (RFC 8555 §8.3)."""


async def look(config: Config, commands: Commands) -> list[Finding]:
    """Asks no CA."""
    acme = config.https.acme
    if not acme.agree:
        return [_not_agreed()] if acme != AcmeConfig(folder=acme.folder) else []
    store = driver_of(config).issuance(acme.folder, timeout=STORE_TIMEOUT)
    try:
        states = await store.states()
    except HipacheError:
        states = {}  # the store's own findings say that it is away
    finally:
        await store.aclose()
    return [*_of_settings(config), *(_failing(*each, commands) for each in states.items())]


def _not_agreed() -> Finding:
    return Finding(
        Severity.NOTE, "acme-not-agreed", "https.acme", "agree is not true",
        "No certificate is ordered.",
        advice='Write "agree": true there if you agree to the terms of the CA.',
    )  # fmt: skip


def _of_settings(config: Config) -> Iterator[Finding]:
    if not config.https.binds:
        yield Finding(
            Severity.WARNING, "acme-no-https", "https.bind", "it names no address",
            "Nobody can ask for a name, so no certificate is ordered.",
            advice="Name an address where TLS is served, as in docs/acme.md.",
        )  # fmt: skip
    if all(bind.port != CHALLENGE_PORT for bind in config.http.binds):
        yield Finding(
            Severity.NOTE, "acme-port", "http.bind", f"no address has port {CHALLENGE_PORT}",
            f"The CA asks there: if nothing leads from port {CHALLENGE_PORT} to the proxy, no "
            "certificate comes.",
            advice=f"Listen on port {CHALLENGE_PORT}, or have it forwarded here.",
        )  # fmt: skip


def _failing(name: str, state: IssuanceState, commands: Commands) -> Finding:
    wait = state.not_before - time.time()
    again = "The next client causes another attempt."
    if wait > 0:
        until = time.strftime("%Y-%m-%d %H:%M", time.gmtime(state.not_before))
        again = f"The next attempt is made at {until} UTC at the earliest."
    return Finding(
        Severity.WARNING, "certificate-not-ordered", f"tls:{name}", printable(state.error),
        f"It has no new certificate. {again}", commands.hipache("cert", "order", name),
        "When the cause is mended, have it tried again:",
    )  # fmt: skip
