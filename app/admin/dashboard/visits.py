"""Who may see the dashboard: a login with `admin.token`, and a cookie that proves it.

The cookie names its end and is signed with the token, so that every worker knows it and none
remembers it. It opens the dashboard only, not the API: there a client shows the token itself.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from starlette.datastructures import Headers
from starlette.requests import cookie_parser

COOKIE = "hipache_admin"
LIFETIME = 12 * 3600
"""Seconds from a login to the next."""


class Visits:
    """Logins to the dashboard of one proxy."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._key = hashlib.sha256(b"hipache dashboard\0" + self._token).digest()

    def is_token(self, claimed: str) -> bool:
        """Whether it is `admin.token`; takes as long in either case."""
        return hmac.compare_digest(claimed.encode("utf-8", "replace"), self._token)

    def begin(self, now: float) -> str:
        """A cookie for LIFETIME from `now` (Unix seconds) on."""
        said = f"{int(now) + LIFETIME}.{secrets.token_urlsafe(16)}"
        return f"{said}.{self._signed('visit', said)}"

    def cookie_in(self, headers: Headers, now: float) -> str | None:
        """The cookie of a request, if it is ours and has not ended."""
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        said, _, signature = cookie.rpartition(".")
        good = hmac.compare_digest(
            signature.encode("utf-8", "replace"), self._signed("visit", said).encode()
        )
        return cookie if good and float(said.partition(".")[0]) > now else None

    def form_token(self, cookie: str) -> str:
        """What a form of this visit carries: a page of somebody else cannot know it."""
        return self._signed("form", cookie)

    def is_own_form(self, cookie: str, claimed: str, headers: Headers) -> bool:
        """Whether a form came from a page of ours, by its token and its `Origin` field."""
        origin = headers.get("origin")
        own = origin is None or origin.partition("://")[2] == headers.get("host", "")
        expected = self.form_token(cookie).encode()
        return own and hmac.compare_digest(claimed.encode("utf-8", "replace"), expected)

    def _signed(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}\0{text}".encode(), hashlib.sha256).hexdigest()
