"""A worker's part for names without a certificate: it wishes for one, and its clients wait."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from ...errors import ProxyError, StoreUnavailable
from ...stores.issuance import IssuanceStore, Wish
from ...stores.routes import Routes
from ..client_hello import asked_name, come_already, likely_name, record_size, server_name
from .arrivals import Arrivals
from .eligible import is_own, why_not, why_not_for

logger = logging.getLogger("hipache.acme")

HasCertificate = Callable[[str], bool]
"""Whether a listener has a certificate for this very name, be it a wildcard's."""

STORE_AT_ONCE = 8
"""New names that the store is asked about at the same time: each takes a connection to it."""
KNOWN_FOR = 1.0
"""Seconds for which a name that has a certificate is not looked up again."""
IN_VAIN = 30.0
"""Seconds for which nobody waits for a name again, after somebody did in vain."""
MOST_WAITED_FOR = 100
"""Names below wildcards that clients of one worker wait for at the same time. Those that are
frontends of their own are not counted: nobody can invent them."""
MOST_OF_A_CLIENT = 10
"""Of them those that one client may have begun to wait for."""
MOST_REMEMBERED = 10_000


class NewNames:
    """One worker's."""

    def __init__(
        self,
        store: IssuanceStore,
        routes: Routes,
        wait: float,
        client_of: Callable[[str], str | None],
    ) -> None:
        """`wait`: seconds that the handshake of a client waits at most. `client_of`: the client
        that an address counts for, None where it may be many."""
        self._store = store
        self._routes = routes
        self._wait = wait
        self._client_of = client_of
        self._arrivals = Arrivals(store)
        self._room = WaitingRoom()
        self._store_turn = asyncio.Semaphore(STORE_AT_ONCE)
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
        return self._settled(name, has, sock)

    def _note_known(self, has: HasCertificate, likely: bytes) -> None:
        """For a moment: to look its certificate up once more costs time in every handshake."""
        if not self._known:
            asyncio.get_running_loop().call_later(KNOWN_FOR, self._known.clear)
        self._known.add((has, likely))

    async def _once_named(self, has: HasCertificate, sock: socket.socket) -> None:
        name = await asked_name(sock)
        if name is not None and not has(name):
            await self._settled(name, has, sock)

    async def _settled(self, name: str, has: HasCertificate, sock: socket.socket) -> None:
        if why_not(name) is not None:
            return
        asking = self._asking.get(name)
        if asking is None:
            client = self._client_of(_address(sock))
            asking = asyncio.create_task(self._ask(name, has, client), name="new name")
            self._asking[name] = asking
            asking.add_done_callback(lambda _: self._asking.pop(name, None))
        await asyncio.wait({asking}, timeout=self._wait)

    async def _ask(self, name: str, has: HasCertificate, client: str | None) -> None:
        """Wish for a certificate; return when it is there, or nobody need wait for it."""
        try:
            frontend = (await self._routes.find_host(name)).frontend
            if why_not_for(name, frontend) is not None:
                return
            if is_own(name, frontend):
                await self._wish(name, has, own=True)
            elif self._room.take(client):
                try:
                    await self._wish(name, has, own=False)
                finally:
                    self._room.give_back(client)
        except StoreUnavailable as exc:
            logger.info("no certificate wished for name=%s cause=%s", name, exc)
        except ProxyError:
            pass  # no frontend

    async def _wish(self, name: str, has: HasCertificate, *, own: bool) -> None:
        loop = asyncio.get_running_loop()
        wait = 0.0 if loop.time() < self._in_vain.pop(name, 0.0) else self._wait
        async with self._store_turn:
            there, state = await self._store.progress(name)
            if not there and state is not None and time.time() < state.not_before:
                return
            if not there and not await self._store.wish(name, Wish.CLIENT, own=own):
                return
        if not await self._arrivals.wait(name, has, state, wait):
            self._remember(name, loop.time() + IN_VAIN)

    def _remember(self, name: str, until: float) -> None:
        if len(self._in_vain) >= MOST_REMEMBERED:
            self._in_vain.clear()
        self._in_vain[name] = until

    async def aclose(self) -> None:
        """Nobody waits any more."""
        for asking in list(self._asking.values()):
            asking.cancel()
        await self._arrivals.aclose()
        await self._store.aclose()


class WaitingRoom:
    """Clients that wait for names which they may have invented, below a wildcard."""

    def __init__(self) -> None:
        self._taken: Counter[str | None] = Counter()

    def take(self, client: str | None) -> bool:
        """Whether there is room for one more. None is not one client but many."""
        if self._taken.total() >= MOST_WAITED_FOR:
            return False
        if client is not None and self._taken[client] >= MOST_OF_A_CLIENT:
            return False
        self._taken[client] += 1
        return True

    def give_back(self, client: str | None) -> None:
        """It waits no more."""
        self._taken[client] -= 1
        if not self._taken[client]:
            del self._taken[client]


def _address(sock: socket.socket) -> str:
    """Empty where the client has none, or has gone."""
    try:
        peer = sock.getpeername()
    except OSError:
        return ""
    return str(peer[0]) if isinstance(peer, tuple) else ""
