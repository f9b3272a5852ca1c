"""`embedded:[DIR]`: routes in a Valkey of our own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from urllib.parse import unquote

from ...config.places import OWN_FOLDER, Places
from ...config.store_address import StoreAddress
from ...config.structs import ServerConfig
from ...errors import ConfigError, HipacheError
from ..driver import StoreDriver, only_url
from ..inspection import Inspection, Remedy
from ..redis.certificate_store import RedisCertificates
from ..redis.driver import command_of, table_of
from ..redis.hub_records import RedisHubRecords
from ..redis.inspection import inspect
from ..redis.issuance import RedisIssuance
from ..redis.table import RedisTable
from .store import SOCKET, EmbeddedServer, EmbeddedStore


class EmbeddedDriver(StoreDriver):
    """A server that runs while somebody uses its folder."""

    schemes = ("embedded",)
    private = True
    one_server = True

    def __init__(self, urls: Sequence[StoreAddress]) -> None:
        self._directory = unquote(only_url(urls).removeprefix("//")) or OWN_FOLDER
        self.names = (f"embedded:{self._directory}",)

    @classmethod
    def placed(cls, url: StoreAddress, places: Places) -> str:
        """The server's data is state."""
        path = unquote(only_url([url]).removeprefix("//")) or OWN_FOLDER
        absolute = places.kept(path)
        return url if absolute == path else f"embedded:{absolute.replace('%', '%25')}"

    @classmethod
    def mask(cls, url: StoreAddress) -> str:
        """A path holds no secret."""
        return url

    def open(self, server: ServerConfig) -> EmbeddedStore:
        """Starts nothing yet."""
        return EmbeddedStore(
            self._directory,
            timeout=server.store_timeout or None,
            rates_within=server.rate_limit_timeout,
            longest_mark=max(server.dead_backend_ttl, server.dead_backend_max_ttl),
        )

    def table(self) -> RedisTable:
        """Starts the server if it does not run."""
        server = EmbeddedServer(self._directory)
        server.acquire()
        return table_of([server.url], release=server.release)

    def certificates(self, *, timeout: float) -> RedisCertificates:
        """Those in the server, which somebody else keeps running."""
        return RedisCertificates(EmbeddedServer(self._directory).url, timeout=timeout)

    def issuance(self, folder: str, *, timeout: float) -> RedisIssuance:
        """In the server, which somebody else keeps running."""
        return RedisIssuance([EmbeddedServer(self._directory).url], timeout=timeout)

    def hub_records(self, *, timeout: float) -> RedisHubRecords:
        """In the server, which somebody else keeps running."""
        return RedisHubRecords([EmbeddedServer(self._directory).url], timeout=timeout)

    def hold(self) -> EmbeddedServer:
        """A share in the server."""
        return EmbeddedServer(self._directory)

    async def inspect(self, *, timeout: float) -> AsyncGenerator[Inspection, None]:
        """Starts the server if it does not run."""
        server = EmbeddedServer(self._directory)
        await asyncio.to_thread(server.acquire)
        try:
            async for part in inspect([server.url], timeout=timeout, name=self.name):
                yield part
        finally:
            server.release()

    def remedy(self, error: HipacheError) -> Remedy:
        """A server that is not installed can be."""
        if isinstance(error, ConfigError):
            return Remedy("pip install 'hipache[embedded]'", "Install the server for it:")
        return super().remedy(error)

    def writes(self) -> Sequence[Path]:
        """The socket stands for all that is in the folder."""
        return (Path(self._directory) / SOCKET,)

    async def command(self, words: Sequence[str], *, timeout: float) -> list[str]:
        """Starts the server if it does not run."""
        server = EmbeddedServer(self._directory)
        await asyncio.to_thread(server.acquire)
        try:
            return await command_of([server.url], words, timeout=timeout)
        finally:
            server.release()
