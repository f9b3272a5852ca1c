"""What is kept of one request."""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

MAX_TARGET, MAX_TEXT, MAX_TRIES = 300, 200, 10
"""Characters of a target, of any other text; attempts. All that a client may choose is cut."""

_VALUES = re.compile(r"=[^&]*")


class Kind(StrEnum):
    """Why a request was kept; each kind has room of its own, so that none pushes out another."""

    FAILED = "failed"
    """A 5xx, an answer that was cut, a WebSocket that broke."""
    REFUSED = "refused"
    """A 4xx of the proxy's own, a client that left."""
    KEPT = "kept"
    """It went well: retried, slow, or one of the sample."""


class Try(msgspec.Struct, array_like=True):
    """One attempt at a backend. Durations are seconds; None means that it did not come so far."""

    backend: str
    """Its URL as it stands in the list."""
    outcome: str
    """A health.Outcome."""
    says: str
    """What that says about the backend: a health.Verdict."""
    cause: str
    began: float
    """After the request's start."""
    head: float | None = None
    """Until the head of its answer."""
    total: float = 0.0
    connect: float | None = None
    """Until the connection stood; None if it was kept from before."""
    queue: float | None = None
    """Waited for one of `maxSockets` to become free; None if it did not wait."""


class Story(msgspec.Struct, array_like=True):
    """One request, from its head to its last byte. Its secrets are left out."""

    id: str
    kind: str
    at: float
    """Unix seconds."""
    method: str
    scheme: str
    host: str
    target: str
    """Path and query; the query's values are masked."""
    http_version: str
    tls: str
    client: str
    proxy: str
    """The name of the proxy's worker: host and process."""
    worker: int
    frontend: str
    """The key that matched; empty if none did."""
    tries: list[Try]
    status: int
    error: str
    seconds: float
    bytes_in: int
    bytes_out: int
    closed_by: str = ""
    """Who closed a WebSocket."""
    close_code: int | None = None


def masked_target(target: bytes) -> str:
    """A target without the values of its query: they may be tokens and addresses.

    >>> masked_target(b"/reset?user=42&token=c2VjcmV0&debug")
    '/reset?user=…&token=…&debug'
    """
    path, mark, query = target.decode("latin-1").partition("?")
    return cut(path + mark + _VALUES.sub("=…", query), MAX_TARGET)


def cut(text: str, most: int = MAX_TEXT) -> str:
    """`text`, at most so many characters of it."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
