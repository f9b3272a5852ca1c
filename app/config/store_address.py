"""A URL of `driver`, as far as every kind of store understands it. Pure."""

from __future__ import annotations


class StoreAddress(str):
    """The URL, with its scheme taken off. What the rest means, the store's driver knows."""

    __slots__ = ("rest", "scheme")

    scheme: str
    """In lower case; empty where there is no colon."""
    rest: str
    """What stands behind the colon."""

    def __new__(cls, url: str) -> StoreAddress:
        """
        >>> StoreAddress("REDIS://h").scheme
        'redis'
        """
        self = super().__new__(cls, url)
        scheme, colon, self.rest = url.partition(":")
        self.scheme = scheme.lower() if colon else ""
        return self
