"""One kind of store, with all that the rest of Hipache needs to know of it.

A driver knows its schemes and what their URLs mean. Nothing outside this folder does.
docs/stores.md shows how to write one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import ClassVar

from ..config.places import Places
from ..config.store_address import StoreAddress
from ..config.structs import ServerConfig
from ..errors import HipacheError
from ..masking import masked_url
from .base import Store
from .certificate_store import CertificateStore
from .file.issuance import FileIssuance
from .hub_records import HubRecords
from .inspection import Inspection, Remedy
from .issuance import IssuanceStore
from .questions import Inquiry
from .tables import RouteTable


class NotOffered(HipacheError):
    """This kind of store does not have what was asked for."""


class StoreDriver(ABC):
    """One kind of store, with the URLs of one configuration. Connects to nothing by itself."""

    schemes: ClassVar[tuple[str, ...]]
    """What stands before the colon of its URLs, in lower case."""
    private: ClassVar[bool] = False
    """The store belongs to the proxies of one folder: other programs' routes are not in it."""
    one_server: bool = False
    """All workers ask and hear the same server, over a network: then those of one proxy share
    what they read. Where a failover moves them one by one, what one reads may be old for others."""
    names: tuple[str, ...]
    """The URLs without secrets, for logs."""

    @abstractmethod
    def __init__(self, urls: Sequence[StoreAddress]) -> None:
        """`urls` is `driver` of the configuration; the first one has one of our schemes.

        Raises ValueError, in one line without secrets, where they cannot be used.
        """

    @property
    def name(self) -> str:
        """The URL that is read from, without secrets."""
        return self.names[0]

    @classmethod
    def placed(cls, url: StoreAddress, places: Places) -> str:
        """`url` with absolute paths, which then mean the same in every folder."""
        return url

    @classmethod
    def mask(cls, url: StoreAddress) -> str:
        """`url` as `hipache check` shows it: without secrets."""
        return masked_url(url)

    @abstractmethod
    def open(self, server: ServerConfig) -> Store:
        """The store itself, for a worker. Raises ConfigError."""

    def open_beside(self, server: ServerConfig, siblings: Path) -> Store:
        """The same for a worker that has siblings, where there is `one_server`. They have the
        folder `siblings` in common, and may listen there to one of them."""
        return self.open(server)

    def table(self) -> RouteTable:
        """What `hipache route` reads and writes. Raises ConfigError, StoreUnavailable, NotOffered.

        It may wait until a server of our own has started.
        """
        raise NotOffered(f"{self.name}: 'hipache route' cannot change this kind of store")

    def certificates(self, *, timeout: float) -> CertificateStore | None:
        """Where `tls:<name>` is read; None where the store holds no certificates.

        `timeout`: seconds for each answer. Raises ConfigError.
        """
        return None

    def issuance(self, folder: str, *, timeout: float) -> IssuanceStore:
        """What those share who get certificates. Connects to nothing yet.

        `folder` keeps it where the store holds no certificates. `timeout`: seconds for each
        answer. Raises ConfigError.
        """
        return FileIssuance(folder)

    def hub_records(self, *, timeout: float) -> HubRecords:
        """What the proxies of a JupyterHub share. Connects to nothing yet.

        `timeout`: seconds for each answer. Raises ConfigError, NotOffered.
        """
        raise NotOffered(f"{self.name}: this kind of store keeps no routes of a JupyterHub")

    def inquiry(self, *, timeout: float | None) -> Inquiry | None:
        """What asks the workers of other machines; None where there are none to ask.

        `timeout`: seconds for each answer of the store. Connects to nothing yet.
        """
        return None

    def hold(self) -> AbstractContextManager[object]:
        """Keeps a server of our own running while it is open; for the supervisor.

        Making it raises ConfigError, entering it StoreUnavailable.
        """
        return nullcontext()

    async def inspect(self, *, timeout: float) -> AsyncGenerator[Inspection, None]:
        """What the store holds, as it is, part by part, for `hipache doctor`. Changes nothing.

        The first part says what kind of store it is.

        `timeout`: seconds for each answer. Raises ConfigError, StoreUnavailable, TableError,
        NotOffered.
        """
        table = self.table()
        try:
            yield Inspection.of_table(await table.read())
        finally:
            await table.aclose()

    def remedy(self, error: HipacheError) -> Remedy:
        """What an operator can do about an error that `inspect` raised."""
        return Remedy("", "Start it, or let driver name the right one.")

    def writes(self) -> Sequence[Path]:
        """Files that the store must be able to write; `hipache doctor` checks that."""
        return ()

    async def command(self, words: Sequence[str], *, timeout: float) -> list[str]:
        """The answer to `hipache redis WORDS`, in lines. Raises HipacheError."""
        raise NotOffered(f"{self.name}: this kind of store answers no commands")


def only_url(urls: Sequence[StoreAddress]) -> str:
    """What follows the scheme, for a driver that takes one URL. Raises ValueError."""
    if len(urls) != 1:
        raise ValueError("expected one URL, or [read, write] of a Redis")
    return urls[0].rest
