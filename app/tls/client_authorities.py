"""The authorities that sign clients' certificates: read at the start, and again when changed."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigError
from ..system.file_stamp import stamp_of
from .certificates import in_memory

logger = logging.getLogger("hipache.tls")


class ClientAuthorities:
    """The files of `https.ca`. Their text is kept: once root is given up, a certificate that
    is renewed must not fail because a file of authorities can no longer be read."""

    def __init__(self, paths: Sequence[str]) -> None:
        """Raises ConfigError naming the file that cannot be used."""
        self._paths = paths
        self._seen = self._stamps()
        self._texts = self._read()

    def changed(self) -> bool:
        """Whether other authorities hold since the last call.

        A file that cannot be used is told once in the log, and what was read before stays.
        """
        if not self._paths or (stamps := self._stamps()) == self._seen:
            return False
        self._seen = stamps
        try:
            texts = self._read()
        except ConfigError as exc:
            logger.error("client authorities refused, the old ones stay: %s", exc)
            return False
        if texts == self._texts:
            return False
        self._texts = texts
        logger.info("client authorities reloaded files=%s", ",".join(self._paths))
        return True

    def add_to(self, context: ssl.SSLContext) -> None:
        """Let `context` believe them."""
        for text in self._texts:
            with in_memory(text) as path:
                context.load_verify_locations(path)

    def _stamps(self) -> list[object]:
        return [stamp_of(path) for path in self._paths]

    def _read(self) -> list[bytes]:
        return [_text_of(path) for path in self._paths]


def _text_of(path: str) -> bytes:
    try:
        text = Path(path).read_bytes()
        with in_memory(text) as copy:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(copy)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"https.ca: {path}: {exc.strerror or exc}") from None
    return text
