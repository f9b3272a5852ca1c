"""Contexts for the certificates of the store, made when a client first asks for a name."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable

from ..config.memory import MemoryConfig
from ..errors import ConfigError
from ..stores.certificate_store import NO_PAIR, Pair
from .certificates import load_text
from .last_used import LastUsed
from .store_certificates import StoreCertificates

logger = logging.getLogger("hipache.tls")

EACH = 22 * 1024
"""Bytes of a context, its certificate and key: OpenSSL takes nearly all of them."""
SHARE = 2
"""Contexts may take one in so many bytes of `memory.limit`: a worker that passes it is replaced."""


class StoreSource:
    """What one listener has of them: made again after a change, and dropped when it is gone, is
    not used, or when others are used and there are too many."""

    def __init__(
        self, certificates: StoreCertificates, new: Callable[[], ssl.SSLContext], most: int
    ) -> None:
        """`most`: contexts to keep; 0: all that are in use."""
        self._certificates = certificates
        self._new = new
        self._contexts = LastUsed[_Kept](most, certificates.forget)
        certificates.add_user(self)

    def context(self, name: str) -> ssl.SSLContext | None:
        """The context for exactly this name; a broken one is logged once, and the old one stays."""
        pair = self._certificates.pair(name)
        if pair == NO_PAIR:
            self.gone(name)
            return None
        kept = self._contexts.get(name) or _Kept()
        if pair != kept.pair:
            kept.pair = pair
            try:
                kept.context = load_text(self._new(), *pair, name=f"tls:{name}")
            except ConfigError as exc:
                logger.error("certificate refused: %s", exc)
        self._contexts.use(name, kept)
        return kept.context

    def gone(self, name: str) -> None:
        """There is no such certificate any more. Another thread may say so."""
        self._contexts.drop(name)


class _Kept:
    __slots__ = ("context", "pair")

    def __init__(self) -> None:
        self.pair: Pair = NO_PAIR
        self.context: ssl.SSLContext | None = None


def most_contexts(memory: MemoryConfig, listeners: int) -> int:
    """How many each of so many listeners may keep; 0: as many as are in use.

    >>> most_contexts(MemoryConfig(limit=200), 1), most_contexts(MemoryConfig(limit=0), 1)
    (4654, 0)
    """
    return max(1, memory.limit * 2**20 // SHARE // EACH // listeners) if memory.limit else 0
