"""Sticky sessions: a cookie that names a backend without showing its URL. Pure.

Its value is a keyed hash of the frontend's key and the backend's URL. So it
cannot be forged without the secret, it survives every edit of the list, and
all workers of all proxies with the same secret agree on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

from ..routing import Backend

_TOKEN_BYTES = 12


def secret_of(configured: str | None, drivers: Sequence[str]) -> bytes:
    """The key of the hash.

    Without a configured one it is derived from the list of stores: all proxies
    of one fleet share that list, and it holds the store's password, if there
    is one. A client that knows the list and a backend's URL can choose that
    backend by a cookie; `balance.secret` prevents even that.
    """
    text = configured if configured is not None else "\n".join(drivers)
    return blake2b(text.encode(), digest_size=32, person=b"hipache sticky").digest()


def token_of(secret: bytes, frontend_key: str, url: str) -> bytes:
    """The cookie's value for one backend."""
    named = f"{frontend_key}\0{url}".encode()
    return blake2b(named, key=secret, digest_size=_TOKEN_BYTES).hexdigest().encode()


def tokens_of(
    secret: bytes, frontend_key: str, backends: Iterable[Backend]
) -> dict[bytes, Backend]:
    """Every token that a client of this frontend may hold."""
    return {token_of(secret, frontend_key, backend.url): backend for backend in backends}


def set_cookie(name: str, token: bytes, *, secure: bool, prefix: str = "") -> bytes:
    """The value of `Set-Cookie`: for this session, this site and no script (RFC 6265 §4.1).

    That of a prefix is for paths below it: a browser sends it before the host's own (§5.4), and
    neither replaces the other.
    """
    path = b"/" if ";" in prefix else prefix.encode() or b"/"  # a cookie's path has no semicolon
    attributes = b"; Path=" + path + b"; HttpOnly; SameSite=Lax" + (b"; Secure" if secure else b"")
    return name.encode() + b"=" + token + attributes
