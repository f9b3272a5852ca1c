"""Which frontends were asked for: it costs a request nothing that it does not do anyway. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from .cached_frontend import NOTE, CachedFrontend


class UsedFrontends:
    """Those of one memory of routes."""

    def __init__(self, by_key: Mapping[str, CachedFrontend]) -> None:
        """`by_key` has those that are remembered now."""
        self._by_key = by_key
        self._gone: set[str] = set()

    def asked_for(self, key: str) -> None:
        """A request was for this one, which had to be read for it."""
        if (served := self._by_key.get(key)) is None:
            self._gone.add(key)
        else:
            served.used |= NOTE

    def forgotten(self, served: CachedFrontend) -> None:
        """It is remembered no more."""
        if served.used & NOTE:
            self._gone.add(served.frontend.key)

    def take(self, busy: Set[str]) -> Iterator[str]:
        """Keys of frontends that were asked for since the last call, and of those that have a
        backend whose URL is in `busy`."""
        gone, self._gone = self._gone, set()
        yield from gone
        for key, served in list(self._by_key.items()):
            if served.used & NOTE:
                served.used &= ~NOTE
                yield key
            elif busy and any(backend.url in busy for backend in served.frontend.backends):
                yield key
