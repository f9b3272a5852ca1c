"""What the requests have in common that repeat a head between the same ends."""

from __future__ import annotations

from ..fields.headers import RawHeaders
from ..fields.known_fields import KnownRequest
from ..fields.passing import STRANGERS, Passing
from ..logs.record import HeadRecord


class Repetition:
    """Of one method, one version and one list of fields, between the same two ends.

    The server makes it; those who serve the requests note here what they have made for one of
    them and need for the next. All of it must follow from the head, the ends of the connection
    and the configuration of the worker, or be compared before it is used.
    """

    __slots__ = ("claimed_id", "fields", "headers", "ours", "passing", "record")

    def __init__(self, headers: RawHeaders) -> None:
        self.headers = headers
        """Its own: those who serve a request may change its fields."""
        self.ours: tuple[tuple[bytes, bytes], ...] | None = None
        """What the proxy adds, but for the request's id; None until it was made."""
        self.passing: Passing = STRANGERS
        """Which of the client's fields pass."""
        self.claimed_id = ""
        """The id that a proxy in front of us gave to the requests."""
        self.fields: KnownRequest | None = None
        """What a backend gets."""
        self.record: HeadRecord | None = None
        """What is logged."""
