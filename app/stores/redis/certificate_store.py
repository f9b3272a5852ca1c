"""Certificates in Redis, as planb and tsuru write them: a hash `tls:<name>` for each name."""

from __future__ import annotations

from collections.abc import Sequence

from redis.exceptions import RedisError, ResponseError

from ...errors import StoreUnavailable
from ..certificate_store import NO_PAIR, CertificateListener, Pair
from .links import connect
from .named_changes import NamedChanges, track_names
from .replies import text
from .url import RedisURL


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

    async def listed(self) -> list[tuple[str, str | StoreUnavailable]]:
        """Scans all keys of the database."""
        client, found = self._connections.client, list[tuple[str, str | StoreUnavailable]]()
        try:
            async for key in client.scan_iter(match=f"{self._prefix}*", count=1000):
                name = text(key).removeprefix(self._prefix)
                try:
                    pem = await client.hget(key, "certificate")
                    found.append((name, text(pem or b"")))
                except ResponseError as exc:
                    found.append((name, StoreUnavailable(str(exc))))
        except (OSError, RedisError) as exc:
            raise StoreUnavailable(str(exc)) from exc
        return found

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
