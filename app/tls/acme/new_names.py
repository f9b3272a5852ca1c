"""A worker's part for names without a certificate: it wishes for one, and its clients wait."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable

from ...errors import ProxyError, StoreUnavailable
from ...stores.issuance import IssuanceStore, Wish
from ...stores.routes import Routes
from ..client_hello import asked_name, come_already, likely_name, record_size, server_name
from .eligible import why_not, why_not_for

logger = logging.getLogger("hipache.acme")

HasCertificate = Callable[[str], bool]
"""Whether a listener has a certificate for this very name, be it a wildcard's."""

LOOK_EVERY = 0.1
"""Seconds between two looks at the store while somebody waits."""
KNOWN_FOR = 1.0
"""Seconds for which a name that has a certificate is not looked up again."""
IN_VAIN = 30.0
"""Seconds for which nobody waits for a name again, after somebody did in vain."""
MOST_WAITED_FOR = 100
"""Names that clients of one worker wait for at the same time."""
MOST_REMEMBERED = 10_000


class NewNames:
    """One worker's."""

    def __init__(self, store: IssuanceStore, routes: Routes, wait: float) -> None:
        """`wait`: seconds that the handshake of a client waits at most."""
        self._store = store
        self._routes = routes
        self._wait = wait
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._in_vain: dict[str, float] = {}
        self._known: set[tuple[HasCertificate, bytes]] = set()

    def before_handshake(self, has: HasCertificate, sock: socket.socket) -> Awaitable[None] | None:
        """What the handshake on `sock` has to wait for; None for a known name, which is there."""
        if (data := come_already(sock)) is None:
            return self._once_named(has, sock)
        likely = likely_name(data)
        if (has, likely) in self._known:
            return None
        if record_size(data) > len(data):
            return self._once_named(has, sock)
        if (name := server_name(data)) is None:
            return None
        if has(name):
            if likely.lower() == name.encode():
                self._note_known(has, likely)
            return None
        return self._settled(name, has)

    def _note_known(self, has: HasCertificate, likely: bytes) -> None:
        """For a moment: to look its certificate up once more costs time in every handshake."""
        if not self._known:
            asyncio.get_running_loop().call_later(KNOWN_FOR, self._known.clear)
        self._known.add((has, likely))

    async def _once_named(self, has: HasCertificate, sock: socket.socket) -> None:
        name = await asked_name(sock)
        if name is not None and not has(name):
            await self._settled(name, has)

    async def _settled(self, name: str, has: HasCertificate) -> None:
        if why_not(name) is not None:
            return
        asking = self._asking.get(name)
        if asking is None:
            if len(self._asking) >= MOST_WAITED_FOR:
                return
            asking = self._asking[name] = asyncio.create_task(self._ask(name, has), name="new name")
            asking.add_done_callback(lambda _: self._asking.pop(name, None))
        await asyncio.wait({asking}, timeout=self._wait)

    async def _ask(self, name: str, has: HasCertificate) -> None:
        """Wish for a certificate; return when it is there, or nobody need wait for it."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._wait
        try:
            frontend = (await self._routes.find_host(name)).frontend
            if why_not_for(name, frontend) is not None:
                return
            if loop.time() < self._in_vain.pop(name, 0.0):
                deadline = loop.time()
            there, state = await self._store.progress(name)
            if not there and state is not None and time.time() < state.not_before:
                return
            if not there and not await self._store.wish(name, Wish.CLIENT):
                return
            while not has(name) and loop.time() < deadline:
                await asyncio.sleep(LOOK_EVERY)
                there, new = await self._store.progress(name)
                if not there and new is not None and new != state:
                    return  # it failed
            if not has(name):
                self._remember(name, loop.time() + IN_VAIN)
        except StoreUnavailable as exc:
            logger.info("no certificate wished for name=%s cause=%s", name, exc)
        except ProxyError:
            pass  # no frontend

    def _remember(self, name: str, until: float) -> None:
        if len(self._in_vain) >= MOST_REMEMBERED:
            self._in_vain.clear()
        self._in_vain[name] = until

    async def aclose(self) -> None:
        """Nobody waits any more."""
        for asking in list(self._asking.values()):
            asking.cancel()
        await self._store.aclose()
