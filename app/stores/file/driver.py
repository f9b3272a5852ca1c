"""`file:PATH`: routes in a text file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from ...config.places import Places
from ...config.store_address import StoreAddress
from ...config.structs import ServerConfig
from ...errors import ConfigError, HipacheError
from ...masking import show
from ..driver import StoreDriver, only_url
from ..inspection import Remedy
from ..table import TableError
from .hub_records import FileHubRecords
from .store import FileStore
from .table import FileTable


class FileDriver(StoreDriver):
    """A file that is read again when it changes."""

    schemes = ("file",)

    def __init__(self, urls: Sequence[StoreAddress]) -> None:
        self._path = unquote(only_url(urls).removeprefix("//"))
        if not self._path:
            raise ValueError(f"expected file:PATH, found {show(urls[0])}")
        self.names = (f"file:{self._path}",)

    @classmethod
    def placed(cls, url: StoreAddress, places: Places) -> str:
        """The table is beside the configuration file."""
        path = unquote(only_url([url]).removeprefix("//"))
        absolute = places.beside(path)
        return url if absolute == path or not path else f"file:{absolute.replace('%', '%25')}"

    @classmethod
    def mask(cls, url: StoreAddress) -> str:
        """A path holds no secret."""
        return url

    def open(self, server: ServerConfig) -> FileStore:
        """Reads nothing yet."""
        return FileStore(self._path)

    def table(self) -> FileTable:
        """Reads nothing yet."""
        return FileTable(self._path)

    def hub_records(self, *, timeout: float) -> FileHubRecords:
        """In a folder: a hub writes often, and a file of all routes would be written each time."""
        if Path(self._path).exists() and not Path(self._path).is_dir():
            raise ConfigError(f"{self.name}: expected a folder for a hub's routes, found a file")
        return FileHubRecords(self._path)

    def remedy(self, error: HipacheError) -> Remedy:
        """A table with a mistake is to be edited."""
        if isinstance(error, TableError):
            return Remedy(f"${{EDITOR:-vi}} {self._path}", "")
        return super().remedy(error)
