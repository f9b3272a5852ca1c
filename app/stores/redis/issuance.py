"""What those who get certificates share in Redis: keys `acme:…` beside `tls:<name>`.

acme:lease               string, expires: the process that orders certificates
acme:account:<hash>      string: the account at a CA, with its private key
acme:challenge:<token>   string, expires: what a CA is answered
acme:wanted              hash: name -> why, and since when
acme:orders              hash: orders of the last hour
acme:full                string, expires: no client's wish for a name below a wildcard is taken
acme:state:<name>        string, expires: what went wrong, until when to wait
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha1, sha256
from typing import Any
from uuid import uuid4

import msgspec
from redis.exceptions import RedisError

from ..certificate_store import Pair
from ..issuance import (
    STATE_LASTS,
    IssuanceListener,
    IssuanceState,
    OrderEnd,
    OrderStart,
    Progress,
    Standing,
    Wish,
    most_wishes,
)
from ..key_pattern import escaped
from ..unavailable import translated
from .issuance_replies import (
    IssuanceChanges,
    is_old,
    optional_text,
    progress_from,
    question,
    standing_of,
    state_of,
)
from .issuance_scripts import ACCOUNT, BEGIN, FAIL, FINISH, WISH
from .leases import RELEASE, hold
from .links import connect
from .named_changes import track_names
from .replies import mapping, text
from .url import RedisURL

TLS, ACME = "tls:", "acme:"
_PER_TRIP = 100


class RedisIssuance:
    """issuance.IssuanceStore on the server that takes the writes. It belongs to one event loop."""

    certs: str | None = None
    kind = ACME
    """What all keys but those of certificates begin with."""

    def __init__(self, urls: Sequence[RedisURL], *, timeout: float) -> None:
        """`timeout`: seconds for each answer."""
        first, last = urls[0], urls[-1]
        self.name = last.name
        self._translated = partial(translated, self.name, RedisError)
        primary = replace(last, database=first.database, prefix=first.prefix)
        # A result written twice could be another one the second time: nothing is sent again.
        self._connections = connect(primary, timeout=timeout, retries=0)
        self._client: Any = self._connections.client
        self._tls, self._acme = f"{first.prefix}{TLS}", f"{first.prefix}{self.kind}"
        self._lease, self._wanted = f"{self._acme}lease", f"{self._acme}wanted"

    async def hold(self, holder: str, seconds: float) -> bool:
        """As all leases are."""
        with self._translated():
            return await hold(self._client, self._lease, holder, seconds)

    async def release(self, holder: str) -> None:
        """So that another one can begin at once."""
        with self._translated():
            await self._client.eval(RELEASE, 1, self._lease, holder)

    def _account(self, directory: str) -> str:
        return f"{self._acme}account:{sha256(directory.encode()).hexdigest()[:16]}"

    async def account(self, directory: str) -> str | None:
        """One for each directory: another CA is another account."""
        with self._translated():
            return optional_text(await self._client.get(self._account(directory)))

    async def keep_account(self, holder: str, directory: str, account: str, *, first: bool) -> str:
        """In one script, which the holder of the lease alone may run."""
        keys, keep = (self._lease, self._account(directory)), "first" if first else ""
        with self._translated():
            return text(await self._client.eval(ACCOUNT, 2, *keys, holder, account, keep))

    async def begin(self, holder: str, name: str, seen: str, per_hour: int) -> OrderStart:
        """In one script, so that nothing changes between the look and the count."""
        return await self._begin(holder, f"{self._tls}{name}", seen, per_hour)

    async def _begin(self, holder: str, certificate: str, seen: str, per_hour: int) -> OrderStart:
        keys = (self._lease, certificate, f"{self._acme}orders")
        with self._translated():
            words = holder, digest_of(seen), per_hour, uuid4().hex
            said = text(await self._client.eval(BEGIN, 3, *keys, *words))
        match said:
            case "begun":
                return OrderStart(begun=True)
            case "lost" | "changed":
                return OrderStart(begun=False, reason=said)
            case seconds:
                return OrderStart.too_many(per_hour, float(seconds))

    async def finish(self, holder: str, name: str, seen: str, pair: Pair, mark: str) -> OrderEnd:
        """In one script, which the holder of the lease alone may run."""
        keys = self._lease, f"{self._tls}{name}", f"{self._acme}state:{name}", self._wanted
        with self._translated():
            words = holder, name, digest_of(seen), *pair, mark
            return OrderEnd(text(await self._client.eval(FINISH, 4, *keys, *words)))

    async def fail(self, holder: str, name: str, state: IssuanceState) -> bool:
        """In one script, which the holder of the lease alone may run."""
        keys = self._lease, f"{self._acme}state:{name}", self._wanted
        value = msgspec.json.encode(state)
        with self._translated():
            return bool(await self._client.eval(FAIL, 3, *keys, holder, name, value, STATE_LASTS))

    async def standing(self) -> AsyncIterator[tuple[str, Standing]]:
        """Scans all keys of the database."""
        async for keys in self._scanned(self._tls):
            names = [key.removeprefix(self._tls) for key in keys]
            with self._translated():
                answers = await self._connections.ask([question(key) for key in keys])
            for name, answer in zip(names, answers, strict=True):
                if (found := standing_of(answer)) is not None:
                    yield name, found

    async def stands(self, name: str) -> Standing | None:
        """One read."""
        with self._translated():
            (answer,) = await self._connections.ask([question(self._tls + name)])
        return standing_of(answer)

    async def progress(self, name: str) -> Progress:
        """One round trip."""
        with self._translated():
            standing, state = await self._connections.ask(
                [question(self._tls + name), ("GET", f"{self._acme}state:{name}")]
            )
        return Progress(standing_of(standing) is not None, state_of(state))

    async def progress_of(self, names: Sequence[str]) -> dict[str, Progress]:
        """Two commands, in one round trip, while none of them is there."""
        keys = [f"{self._tls}{name}" for name in names]
        states = [f"{self._acme}state:{name}" for name in names]
        with self._translated():
            there, found = await self._connections.ask([("EXISTS", *keys), ("MGET", *states)])
            each = await self._connections.ask([("EXISTS", key) for key in keys]) if there else []
        return progress_from(names, each, found)

    async def states(self) -> dict[str, IssuanceState]:
        """Scans all keys of the database."""
        start, found = f"{self._acme}state:", dict[str, IssuanceState]()
        async for keys in self._scanned(start):
            with self._translated():
                answers = await self._connections.ask([("GET", key) for key in keys])
            for key, answer in zip(keys, answers, strict=True):
                if (state := state_of(answer)) is not None:
                    found[key.removeprefix(start)] = state
        return found

    async def _scanned(self, start: str) -> AsyncIterator[list[str]]:
        cursor, pattern, rest = -1, escaped(start) + "*", list[str]()
        while cursor:
            with self._translated():
                cursor, keys = await self._client.scan(max(cursor, 0), match=pattern, count=1000)
            rest += map(text, keys)
            while rest and (len(rest) >= _PER_TRIP or not cursor):
                yield rest[:_PER_TRIP]
                del rest[:_PER_TRIP]

    async def wish(self, name: str, wish: Wish, *, own: bool = True) -> bool:
        """In one script: the limit holds for all workers together."""
        keys = self._wanted, f"{self._acme}full"
        words = name, f"{time.time():.0f}", wish.value, most_wishes(own=own), "own" * own
        with self._translated():
            return bool(await self._client.eval(WISH, 2, *keys, *words))

    async def refuse_below_wildcards(self, seconds: float) -> None:
        """A key that expires by itself."""
        with self._translated():
            await self._client.set(f"{self._acme}full", "", px=max(1, int(seconds * 1000)))

    async def wishes(self) -> dict[str, Wish]:
        """Those of clients that have gone long ago are dropped."""
        with self._translated():
            found = mapping(await self._client.hgetall(self._wanted))
            if old := [name for name, value in found.items() if is_old(value)]:
                await self._client.hdel(self._wanted, *old)
        return {
            name: Wish(value.partition(" ")[0]) for name, value in found.items() if name not in old
        }

    async def drop_wish(self, name: str) -> None:
        """One field of the hash."""
        with self._translated():
            await self._client.hdel(self._wanted, name)

    async def put_challenge(self, token: str, answer: str, seconds: float) -> None:
        """A key that expires by itself."""
        with self._translated():
            await self._client.set(f"{self._acme}challenge:{token}", answer, px=int(seconds * 1000))

    async def drop_challenge(self, token: str) -> None:
        """Before it expires."""
        with self._translated():
            await self._client.delete(f"{self._acme}challenge:{token}")

    async def challenge(self, token: str) -> str | None:
        """One read."""
        with self._translated():
            return optional_text(await self._client.get(f"{self._acme}challenge:{token}"))

    async def remove(self, name: str) -> bool:
        """All keys of the name, in one MULTI."""
        pipe = self._client.pipeline(transaction=True)
        pipe.delete(f"{self._tls}{name}")
        pipe.delete(f"{self._acme}state:{name}")
        pipe.hdel(self._wanted, name)
        with self._translated():
            return bool((await pipe.execute())[0])

    async def watch(self, listener: IssuanceListener) -> None:
        """On a connection of its own."""
        changes = IssuanceChanges(listener, self._tls, self._wanted)
        await track_names(self._connections, [self._tls, self._wanted], changes, self._lease)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connections.aclose()


def digest_of(seen: str) -> str:
    """Of a certificate, as the scripts make it; of none ""."""
    return sha1(seen.encode(), usedforsecurity=False).hexdigest() if seen else ""
