"""Values that the file writes as text and the proxy uses parsed. Pure.

Each is parsed once, when the file is read; a mistake in it stops the start.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from ..fields.names import CLAIMS, FieldNames
from ..fields.networks import Networks, Peers
from ..frontends.options import HashKey, Policy, parse_hash_key, parse_policy, parse_sticky
from ..logs.access_log import Format, compile_format
from ..logs.log_target import LogTarget, parse_target
from .deny_list import DenyList, parse_deny_list
from .store_address import StoreAddress

T = TypeVar("T")

NEEDED = (
    b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"via",
    b"cdn-loop", b"sec-websocket-key", b"sec-websocket-version",
)  # fmt: skip
"""Fields that frame a request, route it or end its loops: `server.dropFields` has none of them."""


class Parsed(Generic[T]):
    """What the file says, as it is `written` there and as a `value`."""

    __slots__ = ("value", "written")

    def __init__(self, written: Any) -> None:
        """Raises ValueError, whose text says what is wrong."""
        self.written = written
        self.value: T = self.parse(written)

    def parse(self, written: Any) -> T:
        """What it means. Raises ValueError."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.written == self.written

    def __hash__(self) -> int:
        return hash(self.written)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.written!r})"

    def __str__(self) -> str:
        return str(self.written)

    def __reduce__(self) -> tuple[type[Parsed[T]], tuple[Any]]:
        """Another process parses it anew: a value may be a function."""
        return type(self), (self.written,)


def text(written: Any) -> str:
    """`written` itself, if it is a string. Raises ValueError."""
    if isinstance(written, str):
        return written
    raise ValueError("Expected a string")


def _texts(written: Any) -> tuple[str, ...]:
    if isinstance(written, list | tuple):
        return tuple(map(text, written))
    raise ValueError("Expected a list")


class BalancePolicy(Parsed[Policy]):
    """`balance.policy`."""

    def parse(self, written: Any) -> Policy:
        """The policy of that name."""
        return parse_policy(text(written))


class HashBy(Parsed[HashKey]):
    """`balance.hash`."""

    def parse(self, written: Any) -> HashKey:
        """What policy `hash` looks at."""
        return parse_hash_key(text(written))


class StickyCookie(Parsed[str | None]):
    """`balance.sticky`."""

    def parse(self, written: Any) -> str | None:
        """The cookie's name, None for off."""
        return parse_sticky(text(written))


class AccessLogFormat(Parsed[Format]):
    """`server.accessLogFormat`."""

    def parse(self, written: Any) -> Format:
        """The function that writes a line."""
        return compile_format(text(written))


class AccessLogTarget(Parsed[LogTarget]):
    """`server.accessLog`."""

    def parse(self, written: Any) -> LogTarget:
        """A file, a syslog or standard output."""
        return parse_target(written if isinstance(written, str) else "")


class DenyBackends(Parsed[DenyList]):
    """`server.denyBackends`."""

    def parse(self, written: Any) -> DenyList:
        """The list, and the addresses that are always on it."""
        self.written = _texts(written)
        return parse_deny_list(self.written)


class TrustedProxies(Parsed[Peers]):
    """`server.trustedProxies`."""

    def parse(self, written: Any) -> Peers:
        """The networks, and whether unix sockets are among them."""
        try:
            self.written = _texts(written)
            return Peers.parse(self.written)
        except ValueError:
            expected = "Expected a list of networks such as 10.0.0.0/8, or unix:"
            raise ValueError(expected) from None


class DropFields(Parsed[FieldNames]):
    """`server.dropFields`."""

    def parse(self, written: Any) -> FieldNames:
        """The names, and those that are always on the list."""
        self.written = _texts(written)
        found = FieldNames.parse((*CLAIMS, *self.written))
        if needed := sorted(filter(found.has, NEEDED)):
            raise ValueError(
                f"Expected no field that a request needs, such as {needed[0].decode()}"
            )
        return found


def decode(kind: type, value: Any) -> object:
    """A value of a type that JSON does not have. Raises ValueError."""
    if issubclass(kind, Parsed):
        return kind(value)
    if kind is StoreAddress:
        return StoreAddress(text(value))
    if kind is not Networks:
        raise NotImplementedError(kind)
    try:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return Networks.parse(value)
    except ValueError:
        pass
    raise ValueError("Expected a list of networks such as 10.0.0.0/8")


def encode(value: object) -> object:
    """The same as the file writes it."""
    return value.written if isinstance(value, Parsed) else str(value)
