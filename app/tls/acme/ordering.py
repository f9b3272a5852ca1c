"""One order from its start to what it leaves in the store: a certificate, or the reason why not."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from ...config.acme import AcmeConfig
from ...errors import ConfigError, StoreUnavailable
from ...routing import Frontend
from ...stores.certificate_store import Pair
from ...stores.issuance import IssuanceState, IssuanceStore, OrderEnd, Standing, Wish
from ...stores.tables import RouteTable, frontend_in
from ..certificates import load_text
from .authority import Account, Authority
from .backoff import after_failure, budget, may_try, postponed
from .eligible import is_own, why_not_for
from .failures import OrderFailed
from .schedule import LOOK_AGAIN

logger = logging.getLogger("hipache.acme")

AT_ONCE = 8
"""Orders that one process works on at the same time."""
CA_FAILED = 30.0
"""Seconds that a name waits at least when the CA has failed; that is no failure of its own."""
CHALLENGE_LASTS = 300.0
"""Seconds that a challenge is answered, if nobody removes it before."""

ELSEWHERE = "another process orders now"
_DROPPED = {
    OrderEnd.LOST: ELSEWHERE,
    OrderEnd.CHANGED: "somebody wrote or removed it meanwhile",
}

T = TypeVar("T")


class Ordering:
    """Orders certificates for the holder of the lease."""

    def __init__(
        self,
        settings: AcmeConfig,
        store: IssuanceStore,
        table: RouteTable,
        holder: str,
        *,
        on_ordered: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`on_ordered` hears of each name that got one."""
        self._settings = settings
        self._store = store
        self._table = table
        self._holder = holder
        self._on_ordered = on_ordered
        self._clock = clock
        self._threads = ThreadPoolExecutor(AT_ONCE, "acme")

    def close(self) -> None:
        """Start nothing more. Threads that wait for a CA end with the process."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def get(
        self, name: str, wish: Wish | None, due: Callable[[Standing], bool]
    ) -> float | None:
        """Get a certificate for `name`, because of a wish, or since its time has come (None).

        `due`: whether that holds for what stands there. Returns when to look at this certificate
        again (Unix seconds), None where another one stands there now. Raises StoreUnavailable,
        and OrderFailed for what goes wrong with the CA.
        """
        store, now = self._store, self._clock()
        standing, (_, state) = await store.stands(name), await store.progress(name)
        frontend = await frontend_in(self._table, name)
        if wish is None:
            if standing is None or not due(standing):
                return None
            if not (standing.mark or _asked_for(frontend)):
                return now + LOOK_AGAIN  # somebody put it there by hand
        elif standing is not None and wish is not Wish.RENEW:
            await store.drop_wish(name)
            return None
        if (reason := why_not_for(name, frontend)) is not None:
            return await self._refuse(name, wish, reason)
        if not may_try(state, now=now, insists=wish in (Wish.ORDER, Wish.RENEW)):
            await store.drop_wish(name)
            return state.not_before if state else now
        seen = standing.certificate if standing else ""
        own = is_own(name, frontend)
        most = budget(self._settings.orders_per_hour, wish, own=own)
        start = await store.begin(self._holder, name, seen, most)
        if start.begun:
            await self._order(name, state, standing)
        elif start.wait:
            until = now + start.wait
            logger.warning("certificate not ordered name=%s cause=%s", name, start.reason)
            if wish is Wish.CLIENT and not own:
                await store.refuse_below_wildcards(start.wait)
            await store.fail(self._holder, name, postponed(state, start.reason, until=until))
            return until
        return None

    async def _refuse(self, name: str, wish: Wish | None, reason: str) -> float:
        """Say why only where a person asked: a client's name may be anything."""
        if wish in (Wish.ORDER, Wish.RENEW):
            await self._store.fail(self._holder, name, IssuanceState(error=reason))
        await self._store.drop_wish(name)
        return self._clock() + LOOK_AGAIN

    async def _order(
        self, name: str, state: IssuanceState | None, standing: Standing | None
    ) -> None:
        began, directory = self._clock(), self._settings.directory
        seen = (standing or Standing("")).certificate
        renewed = seen if standing and standing.mark == directory else ""
        try:
            pair = await self._converse(name, renewed)
            _check(name, pair)
        except OrderFailed as exc:
            await self._failed(name, state, exc)
            raise
        end = await self._store.finish(self._holder, name, seen, pair, directory)
        if end is OrderEnd.WRITTEN:
            took = self._clock() - began
            logger.info("certificate ordered name=%s took=%.1fs", name, took)
            self._on_ordered(name)
        else:
            logger.warning("certificate dropped name=%s cause=%s", name, _DROPPED[end])

    async def _failed(self, name: str, state: IssuanceState | None, exc: OrderFailed) -> None:
        now, cause = self._clock(), str(exc)
        if exc.of_the_ca:
            new = postponed(state, cause, until=now + max(CA_FAILED, exc.retry_after))
        else:
            new = after_failure(state, cause, now=now, retry_after=exc.retry_after)
        exc.until = new.not_before
        wait = new.not_before - self._clock()
        logger.error("certificate not ordered name=%s cause=%s next_in=%.0fs", name, exc, wait)
        await self._store.fail(self._holder, name, new)

    async def _converse(self, name: str, renewed: str) -> Pair:
        account = await self._account()
        authority = Authority(self._settings, account)
        await self._wait_for(authority.open)
        order = await self._wait_for(lambda: authority.order(name, renewed))
        if authority.account != account:
            await self._keep(authority.account.text(), first=False)
        try:
            for token, answer in order.answers.items():
                await self._store.put_challenge(token, answer, CHALLENGE_LASTS)
            return await self._wait_for(lambda: authority.finish(order))
        finally:
            with suppress(StoreUnavailable):  # they expire by themselves
                for token in order.answers:
                    await self._store.drop_challenge(token)

    async def _account(self) -> Account:
        text = await self._store.account(self._settings.directory)
        return Account.read(text or await self._keep(Account.new().text(), first=True))

    async def _keep(self, account: str, *, first: bool) -> str:
        directory = self._settings.directory
        kept = await self._store.keep_account(self._holder, directory, account, first=first)
        if not kept:
            raise OrderFailed(ELSEWHERE)
        return kept

    async def advice(self, authority: Authority, name: str) -> tuple[float | None, float]:
        """When the CA wants the certificate of `name` renewed, and when to ask again."""
        standing = await self._store.stands(name)
        if standing is None:
            return None, self._clock() + LOOK_AGAIN
        return await self._wait_for(lambda: authority.renewal(standing.certificate))

    async def directory(self) -> Authority:
        """A conversation without an account, for advice."""
        authority = Authority(self._settings, Account.new())
        await self._wait_for(authority.connect)
        return authority

    async def _wait_for(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _asked_for(frontend: Frontend | None) -> bool:
    return frontend is not None and bool(frontend.settings.values.get("acme"))


def _check(name: str, pair: Pair) -> None:
    try:
        load_text(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), *pair, name=name)
    except ConfigError as exc:
        raise OrderFailed(f"the CA's certificate cannot be used: {exc}", of_the_ca=True) from None
