"""Heads that connections begin with, where a client makes a connection for each request."""

from __future__ import annotations

from typing import TypeAlias

from .peer import Peer
from .repetition import Repetition
from .request_head import RequestHead

MOST = 256
"""Heads that are kept; then they are forgotten, all at once."""
LONGEST = 1024
"""Bytes of all fields of a head, above which nothing is kept of it."""

Key: TypeAlias = tuple[object, ...]


def key_of(section: bytes, peer: Peer) -> Key | None:
    """Of a head with these fields, one a line; None for one that is not kept."""
    if len(section) > LONGEST:
        return None
    return section, peer.address, peer.server, peer.scheme, peer.tls, peer.subject


class FirstHeads(dict[Key, RequestHead | None]):
    """What is known of one worker's first heads; None for one that came once.

    They are found by their fields and by the ends of the connection, but for the client's port.
    So all that a Repetition holds is the same for them, and they share it.
    """

    def learn(self, key: Key, line: bytes, request: RequestHead) -> None:
        """Note a request and its first line. Most never come again: only the second time costs
        something."""
        if key in self:
            if line.startswith(request.method + b" /"):  # an absolute form would change its Host
                request.repetition = Repetition([*request.headers])
                self[key] = request.again()
        else:
            if len(self) >= MOST:
                self.clear()
            self[key] = None
