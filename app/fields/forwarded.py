"""The fields that tell a backend who its client is: `X-Forwarded-*` and `X-Real-IP`. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address

from .headers import RawHeaders
from .names import FORWARDED
from .networks import Networks


class ForwardedFields:
    """Builds the fields that tell a backend who its client is.

    They repeat what a client claims only if it connects from one of `trusted`
    (`server.trustedProxies`); the claims of all others are overwritten.
    Hipache believed every client and wrote addresses as `::ffff:` (hipache.md
    1.10, point 13).
    """

    def __init__(self, trusted: Networks) -> None:
        self.trusts: Callable[[str], bool] = _nobody
        """Whether an address is one of our own proxies."""
        if trusted:
            self.trusts = lru_cache(maxsize=4096)(trusted.match)
        # Nearly every request of a connection gets the same fields but for the host: building
        # them costs 3 us, finding them again 0.2 us.
        self._plain = lru_cache(maxsize=4096)(_fields)

    def build(
        self, headers: RawHeaders, client: str, scheme: str, port: int, host: bytes
    ) -> RawHeaders:
        """`X-Forwarded-For/-Host/-Port/-Proto/-Protocol` and `X-Real-IP`.

        `client` is the peer's address, `port` the one it connected to, `host`
        its `Host` field.
        """
        if not self.trusts(client):
            return [(b"x-forwarded-host", host), *self._plain(client, scheme, port)]
        claimed = {name: value for name, value in headers if name in FORWARDED}
        hops = b", ".join(value for name, value in headers if name == b"x-forwarded-for")
        proto = claimed.get(b"x-forwarded-proto") or claimed.get(b"x-forwarded-protocol")
        return [
            (b"x-forwarded-host", claimed.get(b"x-forwarded-host", host)),
            (b"x-forwarded-for", (hops + b", " if hops else b"") + client.encode()),
            (b"x-forwarded-port", claimed.get(b"x-forwarded-port", b"%d" % port)),
            (b"x-forwarded-proto", proto or scheme.encode()),
            (b"x-forwarded-protocol", proto or scheme.encode()),
            (b"x-real-ip", self.true_client(headers, client).encode()),
        ]

    def true_client(self, headers: RawHeaders, peer: str) -> str:
        """The address of the client itself: the last hop that none of ours vouches for.

        >>> fields = ForwardedFields(Networks.parse(["10.0.0.0/8"]))
        >>> fields.true_client([(b"x-forwarded-for", b"6.6.6.6, 1.2.3.4, 10.0.0.9")], "10.0.0.1")
        '1.2.3.4'
        """
        if not self.trusts(peer):
            return peer
        hops = b",".join(value for name, value in headers if name == b"x-forwarded-for")
        client = peer
        for hop in reversed(hops.decode("latin-1").split(",")):
            address = _address(hop.strip())
            if address is None:
                break
            client = address
            if not self.trusts(address):
                break
        return client


def _nobody(address: str) -> bool:
    return False


def _fields(client: str, scheme: str, port: int) -> tuple[tuple[bytes, bytes], ...]:
    address = client.encode()
    return (
        (b"x-forwarded-for", address),
        (b"x-forwarded-port", b"%d" % port),
        (b"x-forwarded-proto", scheme.encode()),
        (b"x-forwarded-protocol", scheme.encode()),
        (b"x-real-ip", address),
    )


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
