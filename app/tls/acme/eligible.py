"""Which names a certificate is ordered for: those of frontends, as clients write them. Pure."""

from __future__ import annotations

import re

from ...routing import Frontend

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)+(?=[a-z]|xn--){_LABEL}")  # no address: its end is a number
LONGEST = 253  # RFC 1035 §2.3.4, written out
EVERYTHING = "*"
"""The frontend of all hosts: it says nothing of which names are ours."""


def why_not(name: str) -> str | None:
    """Why no certificate can be ordered for `name`, in one sentence; None if one can.

    >>> why_not("www.example.com") is None, why_not("localhost"), why_not("192.0.2.1")
    (True, "'localhost' is no host name with a domain", "'192.0.2.1' is no host name with a domain")
    """
    if name.startswith("*."):
        return (
            f"{name} is a wildcard: a CA proves it by DNS (DNS-01) only, which Hipache does not "
            f"speak; get the certificate elsewhere and write it to tls:{name}"
        )
    if len(name) > LONGEST or not _NAME.fullmatch(name):
        return f"{name[:LONGEST]!r} is no host name with a domain"
    return None


def is_own(name: str, frontend: Frontend | None) -> bool:
    """Whether the frontend is of this very name: clients can invent those below a wildcard."""
    return frontend is not None and frontend.key == name


def why_not_for(name: str, frontend: Frontend | None) -> str | None:
    """The same, also of the frontend that serves `name`."""
    if (reason := why_not(name)) is not None:
        return reason
    if frontend is None:
        return f"{name} has no frontend"
    wanted = frontend.settings.values.get("acme")
    if wanted is False:
        return f"{frontend.key} has the option acme off"
    if frontend.key == EVERYTHING:
        return f"{name} has no frontend but {EVERYTHING}, which would serve any name"
    if not is_own(name, frontend) and not wanted:
        return f"{frontend.key} serves {name}, and has no option acme on"
    return None
