"""Heads that come again and again, on whichever connection of a worker."""

from __future__ import annotations

from typing import TypeAlias

from ..fields.headers import RawHeaders
from .peer import Peer
from .repetition import Repetition
from .request_head import RequestHead

ROOM = 2**20
"""Bytes that all heads may take that are kept; then they are forgotten, all at once."""
EACH, EACH_FIELD = 512, 170
"""Bytes of Python's that a head takes, and each of its fields, beside three copies of its text."""
LONGEST = 1024
"""Bytes of all fields of a head, above which nothing is kept of it."""
MOST_SEEN = 4096
"""Heads that are noted because they came once."""

Key: TypeAlias = tuple[object, ...]


def key_of(section: bytes, peer: Peer) -> Key | None:
    """Of a head with these fields, one a line; None for one that is not kept."""
    if len(section) > LONGEST:
        return None
    return section, peer.address, peer.server, peer.scheme, peer.tls, peer.subject


def size_of(fields: RawHeaders) -> int:
    """Bytes that a head with these fields takes while it is kept, about."""
    text = sum(len(name) + len(value) for name, value in fields)
    return EACH + 3 * text + EACH_FIELD * len(fields)


class SharedHeads(dict[Key, RequestHead]):
    """What one worker knows of heads that its clients repeat.

    They are found by their fields and by the ends of the connection, but for the client's port.
    So all that a Repetition holds is the same for them, and they share it. A client may make a
    connection for each request, and a balancer in front of us sends many hosts over one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen = set[int]()  # hashes: most heads never come again, and none of these is kept
        self._room = ROOM

    def learn(self, key: Key, line: bytes, request: RequestHead) -> None:
        """Note a request and its first line. Only the second time costs something."""
        seen = hash(key)
        if seen not in self._seen:
            if len(self._seen) >= MOST_SEEN:
                self._seen.clear()
            self._seen.add(seen)
        elif line.startswith(request.method + b" /"):  # an absolute form would change its Host
            request.repetition = Repetition([*request.headers])
            size = size_of(request.headers)
            if size > self._room:
                self.clear()
                self._room = ROOM
            self._room -= size
            self[key] = request.again()
