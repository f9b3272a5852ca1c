"""The names that a stranger may not claim, and how CGI programs read others alike."""

from __future__ import annotations

from itertools import product

from app.fields.names import CLAIMS, FORWARDED

_RESTS = {
    "Forwarded-*": ("for", "host"),
    "X-Forwarded-*": (
        "by", "client-cert", "for", "host", "method", "port", "prefix", "proto", "scheme", "server",
        "ssl", "uri", "user",
    ),
    "WL-Proxy-*": ("client-ip", "ssl"),
    "X-Client-Cert*": ("", "-chain", "-subject"),
    "SSL-Client-*": ("cert", "verify", "subject-dn"),
    "X-SSL-Client-*": ("cert", "s-dn"),
}  # fmt: skip
"""Examples for each beginning on the list."""

EACH_CLAIM = sorted({
    entry.rstrip("*").lower().encode() + rest.encode()
    for entry in CLAIMS
    for rest in _RESTS.get(entry, ("",))
})  # fmt: skip
ALL = sorted({*EACH_CLAIM, *FORWARDED})


def spellings(name: bytes) -> list[bytes]:
    """`name` with each mark that some server makes an underscore of, in each place."""
    parts = name.replace(b"_", b"-").split(b"-")
    marks = product(b"-_.", repeat=len(parts) - 1)
    return [
        b"".join(part + bytes([mark]) for part, mark in zip(parts, chosen, strict=False))
        + parts[-1]
        for chosen in marks
    ]
