"""The fields that tell a backend who its client is: `X-Forwarded-*`, `X-Real-IP`. Pure."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from .headers import RawHeaders, field
from .names import FORWARDED
from .networks import UNIX, Peers
from .remembering import remembering
from .rfc7239 import element


class ForwardedFields:
    """Builds the fields that tell a backend who its client is.

    They repeat what a client claims only if it connects from one of `trusted`
    (`server.trustedProxies`); the claims of all others are overwritten.
    Hipache believed every client and wrote addresses as `::ffff:` (hipache.md
    1.10, point 13).
    """

    def __init__(self, trusted: Peers, *, forwarded: bool = False, protocol: bool = False) -> None:
        """`forwarded`: RFC 7239's field, too; `protocol`: Hipache's `X-Forwarded-Protocol`."""
        # An empty set answers without a call of a function of ours, three times a request.
        self.trusts: Callable[[str], bool] = frozenset[str]().__contains__
        """Whether an address is one of our own proxies."""
        if trusted:
            self.trusts = remembering(4096)(trusted.match)
        self._forwarded = forwarded
        self._protocol = protocol
        # Nearly every request of a connection gets the same fields but for the host: building
        # them costs 3 us, finding them again 0.2 us.
        self._plain = remembering(4096)(self._fields)

    def build(
        self, headers: RawHeaders, client: str, scheme: str, port: int, host: bytes
    ) -> RawHeaders:
        """The fields for one request; what nobody knows gets none.

        `client` is the peer's address, `port` the one it connected to, 0 for a
        unix socket, `host` its `Host` field.
        """
        if self.trusts(client):
            return self._believing(headers, client, scheme, port, host)
        ours = [(b"x-forwarded-host", host), *self._plain((client, scheme, port))]
        if self._forwarded:
            ours.append((b"forwarded", element(_known(client), host, scheme.encode())))
        return ours

    def _fields(self, end: tuple[str, str, int]) -> RawHeaders:
        client, scheme, port = end
        address = _known(client)
        return self._told(address, address, b"%d" % port if port else b"", scheme.encode())

    def _told(self, hops: bytes, client: bytes, port: bytes, proto: bytes) -> RawHeaders:
        """The fields without the host, as far as they are known."""
        fields = [
            (b"x-forwarded-for", hops),
            (b"x-forwarded-port", port),
            (b"x-forwarded-proto", proto),
            (b"x-forwarded-protocol", proto if self._protocol else b""),
            (b"x-real-ip", client),
        ]
        return [item for item in fields if item[1]]

    def _believing(
        self, headers: RawHeaders, client: str, scheme: str, port: int, host: bytes
    ) -> RawHeaders:
        """What a trusted proxy says, and its own address behind it."""
        claimed = {name: value for name, value in headers if name in FORWARDED}
        said = [value for name, value in headers if name == b"x-forwarded-for"]
        peer = _known(client)
        hops = b", ".join(value for value in (*said, peer) if value)
        host = claimed.get(b"x-forwarded-host", host)
        proto = _claimed_proto(headers, claimed) or scheme.encode()
        true_client = _known(self.true_client(headers, client))
        # Where TLS ended before us, our port is not the one that the client connected to.
        own_port = b"%d" % port if port and proto == scheme.encode() else b""
        ours = [
            (b"x-forwarded-host", host),
            *self._told(hops, true_client, claimed.get(b"x-forwarded-port", own_port), proto),
        ]
        if self._forwarded:
            theirs = [value for name, value in headers if name == b"forwarded"]
            before = theirs or [element((_address(hop) or "").encode()) for hop in _hops(headers)]
            ours.append((b"forwarded", b", ".join([*before, element(peer, host, proto)])))
        return ours

    def true_client(self, headers: RawHeaders, peer: str) -> str:
        """The address of the client itself: the last hop that none of ours vouches for.

        >>> fields = ForwardedFields(Peers.parse(["10.0.0.0/8"]))
        >>> fields.true_client([(b"x-forwarded-for", b"6.6.6.6, 1.2.3.4, 10.0.0.9")], "10.0.0.1")
        '1.2.3.4'
        """
        if not self.trusts(peer):
            return peer
        client = peer
        for hop in reversed(_hops(headers)):
            address = _address(hop)
            if address is None:
                break
            client = address
            if not self.trusts(address):
                break
        return client


def _known(address: str) -> bytes:
    """An IP address, empty for a unix socket."""
    return b"" if address == UNIX else address.encode()


def _claimed_proto(headers: RawHeaders, claimed: dict[bytes, bytes]) -> bytes | None:
    """Scheme, as a trusted proxy tells it; gunicorn's users write `ssl` for https."""
    proto = claimed.get(b"x-forwarded-proto") or claimed.get(b"x-forwarded-protocol")
    if proto == b"ssl" or (not proto and field(headers, b"x-forwarded-ssl") == b"on"):
        return b"https"
    return proto


def _hops(headers: RawHeaders) -> list[str]:
    """All entries of `X-Forwarded-For`, from the client on."""
    said = b",".join(value for name, value in headers if name == b"x-forwarded-for")
    return [hop.strip() for hop in said.decode("latin-1").split(",")] if said else []


def _address(text: str) -> str | None:
    """An address out of `X-Forwarded-For`: some write `1.2.3.4:567` or `[::1]:567`."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None
