"""What a CA is answered that asks for a challenge (RFC 8555 §8.3): the text is in the store.

Every worker of every proxy answers, before redirects and access rules. A token that is not
there may be a backend's own: such a request goes on to its route.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager

from ..config.structs import Config
from ..errors import StoreUnavailable
from ..server.edge import Edge
from ..stores import driver_of
from ..stores.issuance import IssuanceStore
from ..stores.routes import Routes
from ..tls.acme.new_names import NewNames
from .decision import OwnAnswer, OwnPath
from .https_policy import ACME

STORE_TIMEOUT = 1.0
"""Seconds for each answer of the store."""

_TOKEN = re.compile(rb"[A-Za-z0-9_-]{1,256}")


class AcmeChallenges:
    """A decision.OwnPath for everything below `https_policy.ACME`."""

    def __init__(self, store: IssuanceStore) -> None:
        self._store = store

    def __call__(self, host: bytes, target: bytes) -> Awaitable[OwnAnswer | None] | None:
        """The answer to a target below ACME."""
        token = target.partition(b"?")[0].removeprefix(ACME)
        return self._ask(token.decode("ascii")) if _TOKEN.fullmatch(token) else None

    async def _ask(self, token: str) -> OwnAnswer | None:
        try:
            answer = await self._store.challenge(token)
        except StoreUnavailable:
            return None
        if answer is None:
            return None
        return OwnAnswer(200, answer.encode(), b"application/octet-stream")


@asynccontextmanager
async def acme_in_worker(
    config: Config, routes: Routes, edge: Edge
) -> AsyncIterator[Mapping[bytes, OwnPath]]:
    """What a worker does for certificates that the proxies get by themselves: it answers the CA
    on these paths, and handshakes for new names wait."""
    acme = config.https.acme
    if not acme.agree:
        yield {}
        return
    store = driver_of(config).issuance(acme.folder, timeout=STORE_TIMEOUT)
    names = NewNames(store, routes, acme.wait, edge.client_of)
    edge.before_handshake = names.before_handshake
    try:
        yield {ACME: AcmeChallenges(store)}
    finally:
        await names.aclose()
