"""What a hook sees of a request and its answer, and what it may say. docs/hooks.md explains it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..errors import BadHost
from ..fields.headers import RawHeaders, field
from ..fields.names import CONTROLS, FORWARDED, HOP_BY_HOP, TOKEN, as_read
from ..proxy.decision import OwnAnswer
from ..proxy.request import Request
from ..routing import normalise_host

FRAMING = HOP_BY_HOP | {b"content-length"}
"""Fields that tell where a message ends, or what becomes of its connection: the proxy's own."""
_OURS = frozenset({b"host", b"expect", b"forwarded", b"via", b"cdn-loop"})
_NOT_TO_SET = FRAMING | FORWARDED | _OURS
_CONTROLS = frozenset(CONTROLS)


def is_framing(name: bytes) -> bool:
    """Whether an answer's field (lower-case) belongs to the proxy, not to a hook."""
    return name in FRAMING or name.startswith(b"sec-websocket-")


def checked_field(name: object, value: object) -> tuple[bytes, bytes]:
    """A field as it may stand in a head, its name lower-case. Raises ValueError."""
    if isinstance(name, str):
        name = name.encode("ascii", "replace")
    if isinstance(value, str):
        value = value.encode("latin-1")
    if not isinstance(name, bytes) or not name or name.translate(None, TOKEN):
        raise ValueError(f"{name!r} is no name of a field")
    if not isinstance(value, bytes) or not _CONTROLS.isdisjoint(value):
        raise ValueError(f"field {name.decode()}: {value!r} is no value")
    return name.lower(), value


class HookAnswer:
    """What the client gets in place of a backend's answer."""

    __slots__ = ("own",)

    def __init__(
        self,
        status: int = 200,
        body: str | bytes = b"",
        headers: Iterable[tuple[str | bytes, str | bytes]] = (),
        *,
        content_type: str = "text/plain; charset=utf-8",
    ) -> None:
        """The proxy adds `Content-Length`. Raises ValueError for what cannot be sent."""
        if not 200 <= status <= 599:
            raise ValueError(f"{status!r} is no final status")
        fields = tuple(checked_field(name, value) for name, value in headers)
        for name, _ in fields:
            if is_framing(name):
                raise ValueError(f"the field {name.decode()} is the proxy's to write")
        kind = checked_field("content-type", content_type)[1]
        content = body.encode() if isinstance(body, str) else bytes(body)
        self.own = OwnAnswer(status, content, kind, fields)

    @classmethod
    def redirect(cls, location: str, status: int = 302) -> HookAnswer:
        """Send the client elsewhere."""
        return cls(status, headers=[("location", location)])

    def __repr__(self) -> str:
        return f"Answer({self.own.status}, {self.own.body[:50]!r})"


class HookRequest:
    """A request on its way. The same object comes to every hook that this request meets."""

    __slots__ = ("_request", "client", "state")

    def __init__(self, request: Request, client: str) -> None:
        self._request = request
        self.client = client
        """The client's address, as trusted proxies tell it."""
        self.state: dict[str, Any] = {}
        """For what one hook wants to tell a later one."""

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.host}{self.target}>"

    @property
    def method(self) -> str:
        return self._request.method.decode("latin-1")

    @property
    def target(self) -> str:
        """Path and query, exactly as they came."""
        return self._request.target.decode("latin-1")

    @property
    def path(self) -> str:
        """The target up to its `?`, not decoded."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """What stands behind the `?`, not decoded."""
        return self.target.partition("?")[2]

    @property
    def host(self) -> str:
        """The `Host` as routes are looked up by it: lower-case, without a port."""
        try:
            return normalise_host(self._request.host)
        except BadHost:
            return ""

    @property
    def scheme(self) -> str:
        """`http` or `https`, of the client's connection."""
        return self._request.peer.scheme

    @property
    def http_version(self) -> str:
        """`1.0`, `1.1` or `2`."""
        return self._request.http_version

    @property
    def web_socket(self) -> bool:
        """Whether it opens a WebSocket."""
        return self._request.web_socket

    @property
    def id(self) -> str:
        """What logs and error pages call it."""
        return self._request.record.request_id

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The client's fields, names lower-case, in their order."""
        return tuple(self._request.headers)

    def header(self, name: str) -> str | None:
        """The first field of the client's with this name."""
        value = field(self._request.headers, name.lower().encode("latin-1"))
        return None if value is None else value.decode("latin-1")

    def cookie(self, name: str) -> str | None:
        """The value of the client's cookie of this name."""
        value = self._request.cookie(name.encode("latin-1"))
        return None if value is None else value.decode("latin-1")

    def set_header(self, name: str, value: str | bytes) -> None:
        """Send the backend this field in place of the client's own, in whichever spelling.

        Raises ValueError for a field that the proxy writes itself.
        """
        item = checked_field(name, value)
        self.remove_header(name)
        self._request.ours += (item,)

    def remove_header(self, name: str) -> None:
        """Do not send the backend this field, in whichever spelling. Raises ValueError."""
        read = as_read(checked_field(name, b"")[0])
        if read in _NOT_TO_SET:
            raise ValueError(f"the field {name} is the proxy's to write")
        request = self._request
        request.headers = [item for item in request.headers if as_read(item[0]) != read]
        request.ours = tuple(item for item in request.ours if as_read(item[0]) != read)


@dataclass(slots=True)
class HookResponse:
    """The head of an answer, on its way to the client."""

    status: int
    """To read; a hook cannot change it."""
    headers: RawHeaders
    """Pairs of bytes, names lower-case: to edit, or to replace by another list."""
    backend: str | None
    """The URL of the backend that gave it; None for an answer of the proxy's own."""


@dataclass(frozen=True, slots=True)
class HookEnd:
    """How a request ended."""

    request: HookRequest
    status: int
    """499 if the client left before the answer's head."""
    frontend: str | None
    """The key that the store has for it."""
    backend: str | None
    """The URL of the backend that was asked last."""
    attempts: int
    bytes_in: int
    bytes_out: int
    seconds: float
    error: str
    """Why it failed; empty if it did not."""
