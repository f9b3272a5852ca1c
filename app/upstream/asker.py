"""The client behind a request, as the pool sees it while others wait for a connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from ..errors import UpstreamError
from ..fields.forwarded import ForwardedFields
from ..fields.headers import RawHeaders
from ..fields.networks import UNIX, Peers
from ..frontends.rates import one_client


class Asker(Protocol):
    """A client's request. While no request waits for a connection, nobody asks it anything."""

    client: str
    """The peer's address."""
    headers: RawHeaders
    """As the client sent them; a trusted proxy's tell whose request it is."""
    started: float
    """Differs from that of every other request on the same connection."""

    def awaited(self) -> object | None:
        """What the client has yet to take or to send before the request can go on.

        None if nothing. As long as it is equal, the client has done nothing.
        """

    def waited(self, seconds: float) -> None:
        """It has waited so long for a free connection."""

    def give_up(self, error: UpstreamError) -> None:
        """Wait for the client no longer, but fail with `error`: its connection is gone."""


ClientOf: TypeAlias = Callable[[Asker], str | None]
"""Tells what counts as one client; None where nobody is known, or many share the address."""


def nobody(asker: Asker) -> None:
    """Knows no client."""


def client_names(trusted: Peers) -> ClientOf:
    """Tells what counts as one client, as for `maxConnectionsPerAddress`: an IPv4 address, an
    IPv6 /64; None for a trusted proxy itself, and where the address is not known."""
    fields = ForwardedFields(trusted)

    def client_of(asker: Asker) -> str | None:
        address = fields.true_client(asker.headers, asker.client)
        if not address or address == UNIX or fields.trusts(address):
            return None
        return one_client(address)

    return client_of
