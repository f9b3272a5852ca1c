"""The `Forwarded` field (RFC 7239): one element for each hop, the client's first. Pure."""

from __future__ import annotations

from .names import TOKEN


def element(address: bytes, host: bytes = b"", proto: bytes = b"") -> bytes:
    """What one proxy knows of a request; an `address` that is empty is unknown.

    >>> element(b"2001:db8::1", b"a.test:80", b"https")
    b'for="[2001:db8::1]";host="a.test:80";proto=https'
    """
    pairs = [b"for=" + _value(b"[%b]" % address if b":" in address else address or b"unknown")]
    if host:
        pairs.append(b"host=" + _value(host))
    if proto:
        pairs.append(b"proto=" + _value(proto))
    return b";".join(pairs)


def _value(text: bytes) -> bytes:
    """A token as it is, anything else quoted (RFC 9110 §5.6.4)."""
    if text and not text.translate(None, TOKEN):
        return text
    return b'"%b"' % text.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
