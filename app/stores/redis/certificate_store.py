"""Certificates in Redis, as planb and tsuru write them: a hash `tls:<name>` for each name."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from redis.exceptions import RedisError, ResponseError

from ...errors import StoreUnavailable
from ..certificate_store import NO_PAIR, CertificateListener, Pair
from ..key_pattern import escaped
from .links import connect
from .named_changes import NamedChanges, track_names
from .replies import text
from .url import RedisURL

KEYS_PER_TRIP = 200
"""Keys that are looked at together, in a process that serves requests: a few milliseconds."""


class RedisCertificates:
    """certificates.CertificateStore in Redis. It belongs to one event loop."""

    def __init__(self, url: RedisURL, *, timeout: float) -> None:
        """`timeout`: seconds for each answer."""
        self._prefix = f"{url.prefix}tls:"
        self._connections = connect(url, timeout=timeout)

    async def read(self, names: Sequence[str]) -> list[Pair | StoreUnavailable]:
        """All of them in one round trip."""
        commands = [("HMGET", f"{self._prefix}{name}", "certificate", "key") for name in names]
        try:
            answers = await self._connections.ask(commands)
        except (OSError, RedisError) as exc:
            raise StoreUnavailable(str(exc) or "no answer") from exc
        return [_pair(answer) for answer in answers]

    async def listed(self) -> AsyncGenerator[tuple[str, str | StoreUnavailable], None]:
        """Scans all keys of the database."""
        cursor, match = 0, f"{escaped(self._prefix)}*"
        try:
            while True:
                cursor, names = await self._connections.client.scan(
                    cursor, match=match, count=KEYS_PER_TRIP
                )
                commands = [("HGET", name, "certificate") for name in names]
                answers = await self._connections.ask(commands) if commands else []
                for name, answer in zip(names, answers, strict=True):
                    bad = isinstance(answer, ResponseError)
                    pem = StoreUnavailable(str(answer)) if bad else text(answer or b"")
                    yield text(name).removeprefix(self._prefix), pem
                if not cursor:
                    return
        except (OSError, RedisError) as exc:
            raise StoreUnavailable(str(exc)) from exc

    async def watch(self, listener: CertificateListener) -> None:
        """On a connection of its own."""
        changes = NamedChanges(listener, self._prefix)
        await track_names(self._connections, [self._prefix], changes, self._prefix)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connections.aclose()


def _pair(answer: list[bytes | None] | ResponseError) -> Pair | StoreUnavailable:
    if isinstance(answer, ResponseError):
        return StoreUnavailable(str(answer))
    certificate, key = (text(value) if value else "" for value in answer)
    return (certificate, key) if certificate and key else NO_PAIR
