"""Values as messages may show them: short, in one line, without a secret. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

SECRET_KEYS = frozenset(
    {"passphrase", "password", "secret", "debugSecret", "token", "driver", "eab"}
)


def show(value: Any) -> str:
    """`value` for a message: short, in one line, its secrets masked."""
    text = json.dumps(masked(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def masked(value: Any, *, key: str = "") -> Any:
    """The same JSON value without passwords, passphrases and private keys."""
    if isinstance(value, dict):
        # All that is in such an object is secret, whatever it is called there.
        return {
            name: masked(item, key=key if key in SECRET_KEYS else name)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked(item, key=key) for item in value]
    if key == "driver" and isinstance(value, str):
        return masked_url(value)
    if key == "url" and isinstance(value, str):
        return masked_path(value)
    if value is not None and (key in SECRET_KEYS or "-----BEGIN" in str(value)):
        return "***"
    return value


def printable(text: str) -> str:
    r"""`text` as a terminal or a log may have it: in one line, control characters as escapes.

    >>> printable("http://a\n\x1b[2J")
    'http://a\\n\\x1b[2J'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def masked_path(url: str) -> str:
    """A receiver's URL without its path and its query, in which a token may stand.

    >>> masked_path("https://chat.example.com/hooks/s3cret"), masked_path("http://u:s3cret@h")
    ('https://chat.example.com/***', 'http://h')
    """
    found = re.match(r"([a-z]+://)(?:[^/?#]*@)?([^/?#@]*)(.?)", url)
    if found is None:
        return "***"
    return found[1] + found[2] + ("/***" if found[3] else "")


def masked_url(url: str) -> str:
    """A driver's URL without its password, even if the URL is malformed.

    Everything between the scheme and the last `@` is hidden, because a password may
    hold an unescaped `/`, `#` or `@`. So is the query, where redis-py reads a
    password as well.

    >>> masked_url("redis://:s3cret@10.0.0.1:6379/2#shop")
    'redis://***@10.0.0.1:6379/2#shop'
    """
    head, at, rest = url.rpartition("@")
    if at:
        scheme = re.match(r"[a-z]+:(//)?", head)
        url = f"{scheme[0] if scheme else ''}***@{rest}"
    return re.sub(r"\?[^#]*", "?***", url)
