"""Passwords as scrypt hashes, and the `Authorization` field that carries them. Pure.

Of the standard library's hashes, scrypt (RFC 7914) is the one that graphics
cards do not break easily. A hash is written as PHC strings are:
`$scrypt$ln=14,r=8,p=1$SALT$HASH`, both in base64 without padding.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, field

DIGEST_BYTES = 32
MAX_CHECK_MEMORY = 64 * 2**20
"""Bytes that one check may take: a route must not fill the proxy's memory."""

_PHC = re.compile(
    r"\$scrypt\$ln=([0-9]{1,2}),r=([0-9]{1,2}),p=([0-9])"
    r"\$([A-Za-z0-9+/]{11,88})\$([A-Za-z0-9+/]{22,88})"
)


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """A hashed password. Neither its `repr` nor any message shows it."""

    ln: int
    """Binary logarithm of scrypt's cost."""
    r: int
    p: int
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    def matches(self, password: bytes) -> bool:
        """Whether this is the password.

        With our own parameters it takes some 40 ms of CPU time and 16 MiB: do not
        call it in an event loop. hashlib lets other threads run meanwhile.
        """
        return hmac.compare_digest(_digest_of(password, self), self.digest)

    def __str__(self) -> str:
        return "$scrypt$***"


def parse_hash(text: str) -> PasswordHash:
    """Raises ValueError, which never quotes `text`, if it is no hash or costs too much."""
    match = _PHC.fullmatch(text)
    if match is None:
        raise ValueError("expected a hash as 'hipache password' prints it")
    ln, r, p = (int(number) for number in match.group(1, 2, 3))
    if not (1 <= ln <= 20 and r and p) or 128 * r * 2**ln > MAX_CHECK_MEMORY or p > 4:
        raise ValueError(f"expected a hash that takes at most {MAX_CHECK_MEMORY >> 20} MiB and p=4")
    try:
        salt, digest = (b64decode(part + "=" * (-len(part) % 4)) for part in match.group(4, 5))
    except binascii.Error:
        raise ValueError("expected a hash in whole base64") from None
    return PasswordHash(ln, r, p, salt, digest)


def make_hash(password: bytes, salt: bytes, *, ln: int = 14) -> str:
    """The text to keep; `salt` is 16 random bytes."""
    digest = _digest_of(password, PasswordHash(ln, 8, 1, salt, bytes(DIGEST_BYTES)))
    parts = (b64encode(raw).decode().rstrip("=") for raw in (salt, digest))
    return f"$scrypt$ln={ln},r=8,p=1$" + "$".join(parts)


def _digest_of(password: bytes, kept: PasswordHash) -> bytes:
    return hashlib.scrypt(
        password, salt=kept.salt, n=2**kept.ln, r=kept.r, p=kept.p,
        maxmem=2 * MAX_CHECK_MEMORY, dklen=len(kept.digest),
    )  # fmt: skip


def credentials(authorization: bytes | None) -> tuple[str, bytes] | None:
    """User and password of a Basic `Authorization` (RFC 7617 §2); None if it has none.

    >>> credentials(b"Basic YWxpY2U6b3BlbjpzZXNhbWU=")
    ('alice', b'open:sesame')
    """
    scheme, _, token = (authorization or b"").partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = b64decode(token.strip(b" "), validate=True).partition(b":")
    except binascii.Error:
        return None
    return (user.decode("utf-8", "backslashreplace"), password) if colon else None
