"""Internationalised names as clients send them."""

from __future__ import annotations

import idna


def wire_name(key: str) -> str:
    """An internationalised name as clients send it (RFC 5891 §4), empty if there is no such form.

    >>> wire_name("*.münchen.example")
    '*.xn--mnchen-3ya.example'
    """
    if key.isascii():
        return ""
    wildcard, host = "*." * key.startswith("*."), key.removeprefix("*.")
    try:
        return wildcard + idna.encode(host, uts46=True).decode()
    except idna.IDNAError:
        return ""
