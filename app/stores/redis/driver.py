"""`redis:`, `rediss:`, `unix:` and Sentinel: routes in a server that others may use, too."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, unquote_plus

from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from ...config.places import Places
from ...config.store_address import StoreAddress
from ...config.structs import ServerConfig
from ...errors import HipacheError, StoreUnavailable
from ...masking import masked_url, show
from ..driver import StoreDriver
from ..inspection import Inspection, Remedy
from .certificate_store import RedisCertificates
from .hub_records import RedisHubRecords
from .inspection import inspect
from .issuance import RedisIssuance
from .links import connect
from .questions import RedisInquiry
from .replies import text
from .store import RedisStore
from .table import RedisTable
from .url import CLUSTER_SCHEMES, SCHEMES, SENTINEL_SCHEMES, RedisURL, parse_url

TABLE_TIMEOUT = 30.0
"""Seconds for each answer: a whole table takes longer than the one read of a request."""


class RedisDriver(StoreDriver):
    """One URL, or the URLs of a replica to read from and of its primary."""

    schemes: ClassVar[tuple[str, ...]] = SCHEMES

    def __init__(self, urls: Sequence[StoreAddress]) -> None:
        if len(urls) > 2:
            raise ValueError("expected one URL, or [read, write] of a Redis")
        if other := next((url for url in urls if url.scheme not in self.schemes), None):
            known = ", ".join(f"{scheme}:" for scheme in self.schemes)
            raise ValueError(f"expected one of {known}, found {show(masked_url(other))}")
        self.urls = [parse_url(url) for url in urls]
        self.names = tuple(url.name for url in self.urls)
        self.one_server = not {url.scheme for url in self.urls} & {
            *SENTINEL_SCHEMES, *CLUSTER_SCHEMES,
        }  # fmt: skip

    @classmethod
    def placed(cls, url: StoreAddress, places: Places) -> str:
        """Certificates are beside the configuration file."""

        def absolute(found: re.Match[str]) -> str:
            return f"{found[1]}={quote(places.beside(unquote_plus(found[2])))}"

        return re.sub(r"(?<=[?&])((?:ca|cert|key)file)=([^&#]+)", absolute, url)

    def open(self, server: ServerConfig) -> RedisStore:
        """Connects to nothing yet."""
        return self._opened(server, None)

    def open_beside(self, server: ServerConfig, siblings: Path) -> RedisStore:
        """One worker of those who have the same URLs listens for all."""
        return self._opened(server, siblings)

    def _opened(self, server: ServerConfig, siblings: Path | None) -> RedisStore:
        return RedisStore(
            self.urls,
            timeout=server.store_timeout or None,
            ttl=server.lru_cache.ttl,
            rates_within=server.rate_limit_timeout,
            longest_mark=max(server.dead_backend_ttl, server.dead_backend_max_ttl),
            siblings=siblings,
        )

    def table(self) -> RedisTable:
        """Connects to nothing yet."""
        return table_of(self.urls)

    def certificates(self, *, timeout: float) -> RedisCertificates:
        """Those of the server that is read from."""
        return RedisCertificates(self.urls[0], timeout=timeout)

    def issuance(self, folder: str, *, timeout: float) -> RedisIssuance:
        """In the server that takes the writes."""
        return RedisIssuance(self.urls, timeout=timeout)

    def hub_records(self, *, timeout: float) -> RedisHubRecords:
        """In the server that takes the writes."""
        return RedisHubRecords(self.urls, timeout=timeout)

    def inquiry(self, *, timeout: float | None) -> RedisInquiry:
        """Over the server that takes the writes."""
        return RedisInquiry(self.urls, timeout=timeout)

    def inspect(self, *, timeout: float) -> AsyncGenerator[Inspection, None]:
        """Reads every key under our prefixes."""
        return inspect(self.urls, timeout=timeout)

    def remedy(self, error: HipacheError) -> Remedy:
        """A refused user needs another password, or more rights."""
        if isinstance(error.__cause__, AuthenticationError | NoPermissionError):
            right = (
                "Write the right user and password into driver: redis://user:password@host:port."
            )
            return Remedy("", right)
        return super().remedy(error)

    async def command(self, words: Sequence[str], *, timeout: float) -> list[str]:
        """From the server that takes the writes."""
        return await command_of(self.urls, words, timeout=timeout)


def table_of(urls: Sequence[RedisURL], release: Callable[[], None] = lambda: None) -> RedisTable:
    """`release` is called when the table is closed."""
    return RedisTable(urls, timeout=TABLE_TIMEOUT, release=release)


async def command_of(
    urls: Sequence[RedisURL], words: Sequence[str], *, timeout: float
) -> list[str]:
    """The answer to one command, one element a line. Raises StoreUnavailable."""
    primary = replace(urls[-1], database=urls[0].database)
    connections = connect(primary, timeout=timeout, retries=0)
    try:
        (answer,) = await connections.ask([words])
    except (RedisError, OSError) as exc:
        raise StoreUnavailable(str(exc)) from exc
    finally:
        await connections.aclose()
    if isinstance(answer, Exception):
        raise StoreUnavailable(str(answer)) from answer
    return list(lines_of(answer))


def lines_of(answer: Any) -> Iterator[str]:
    """A raw answer, one element a line."""
    if isinstance(answer, list | tuple):
        for element in answer:
            yield from lines_of(element)
    elif answer is None:
        yield ""
    else:
        yield text(answer) if isinstance(answer, bytes | str) else str(answer)
