"""Which driver opens which scheme: ours, and those of other packages.

Another package registers its class as an entry point of the group `hipache.drivers`, under the
scheme's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

from ..config.messages import fault
from ..config.places import Places
from ..config.store_address import StoreAddress
from ..config.structs import Config
from ..masking import masked_url, show
from .driver import StoreDriver
from .embedded.driver import EmbeddedDriver
from .file.driver import FileDriver
from .redis.cluster.cluster_driver import ClusterDriver
from .redis.driver import RedisDriver

GROUP = "hipache.drivers"
BUILT_IN: tuple[type[StoreDriver], ...] = (RedisDriver, ClusterDriver, EmbeddedDriver, FileDriver)
BY_SCHEME = {scheme: kind for kind in BUILT_IN for scheme in kind.schemes}
OLD = frozenset({"etcd", "memcached", "zookeeper"})
"""Drivers of older Hipaches that are not there any more."""
OLD_HINT = (
    "older Hipaches could read it: move the frontends into a Redis, or install a package "
    f"with such a driver (entry point {GROUP})"
)


def driver_of(config: Config) -> StoreDriver:
    """The driver of the configured store. Connects to nothing.

    Raises ConfigError, which names the key, where the URLs cannot be used.
    """
    try:
        return _opened_by(config.driver, config.places)
    except ValueError as exc:
        if config.driver_from is not None:
            raise fault(config.driver_from, "", str(exc)) from None
        raise fault(config.source, "driver", str(exc)) from None


def driver_for(urls: Sequence[str]) -> StoreDriver:
    """The driver of these URLs. Raises ValueError, in words without secrets."""
    return _opened_by([StoreAddress(url) for url in urls], Places())


def _opened_by(urls: Sequence[StoreAddress], places: Places) -> StoreDriver:
    if not urls:
        raise ValueError("expected one URL, or [read, write] of a Redis")
    for url in urls:
        if not url.isprintable():
            raise ValueError(f"expected a URL without line breaks, found {show(masked_url(url))}")
    kind = _kind(urls[0])
    return kind([StoreAddress(kind.placed(url, places)) for url in urls])


def shown(config: Config) -> list[str]:
    """The URLs as `hipache check` shows them, without secrets. Raises ConfigError."""
    kind = type(driver_of(config))
    placed = (kind.placed(url, config.places) for url in config.driver)
    return [kind.mask(StoreAddress(url)) for url in placed]


def _kind(url: StoreAddress) -> type[StoreDriver]:
    scheme = url.scheme
    if scheme in BY_SCHEME:
        return BY_SCHEME[scheme]
    others = entry_points(group=GROUP)
    if scheme in others.names:
        return _loaded(others[scheme])
    known = ", ".join(f"{name}:" for name in (*BY_SCHEME, *sorted(others.names)))
    word = scheme or url.lower()
    hint = f"; {OLD_HINT}" if word in OLD else ""
    hint = f'; did you mean "{word}:"?' if word in BY_SCHEME else hint
    raise ValueError(f"expected one of {known}, found {show(masked_url(url))}{hint}")


def _loaded(entry: EntryPoint) -> type[StoreDriver]:
    named = f"the driver of {entry.name}:, {entry.value}"
    try:
        kind = entry.load()
    except Exception as exc:  # code of somebody else's: it may raise anything
        raise ValueError(f"{named}, cannot be loaded: {type(exc).__name__}: {exc}") from exc
    if not (isinstance(kind, type) and issubclass(kind, StoreDriver)):
        raise ValueError(f"{named}, is no {StoreDriver.__module__}.StoreDriver")
    return kind
