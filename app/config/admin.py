"""The section `admin`: the listener for metrics and state, and its token. Pure."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Any

from msgspec import Meta

from .messages import fault
from .parsed import Parsed, text
from .types import Section

Buckets = Annotated[tuple[Annotated[float, Meta(gt=0, le=86_400)], ...], Meta(min_length=1)]
MAX_BUCKETS = 40


def admin_address(bind: str) -> tuple[str, int]:
    """Host and port; for a unix socket its path and 0. Raises ValueError.

    >>> admin_address("[::1]:8001"), admin_address("unix:/run/admin.sock")
    (('::1', 8001), ('/run/admin.sock', 0))
    """
    if bind.startswith("unix:/"):
        return bind.removeprefix("unix:"), 0
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9_.-]+)):(\d{1,5})", bind)
    if found is None or int(found[3]) > 65535:
        raise ValueError("expected address:port or unix:/path")
    return found[1] or found[2], int(found[3])


class AdminBind(Parsed[tuple[str, int]]):
    """`admin.bind`: host and port; of a unix socket its path and 0."""

    def parse(self, written: Any) -> tuple[str, int]:
        """Where to listen."""
        return admin_address(text(written))


class AdminConfig(Section, frozen=True, kw_only=True):
    """The `admin` object."""

    bind: AdminBind | None = AdminBind(
        "127.0.0.1:8001"
    )  # address:port, unix:/path, or None for no listener
    token: str | None = None  # what clients must show; needed beyond loopback
    buckets: Buckets = (
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    )  # fmt: skip  # of the histograms, seconds
    write: bool = False  # clients with the token may change routes
    planb_names: bool = False  # metrics under planb's names, too


def is_local(host: str) -> bool:
    """Whether only programs of this machine can connect to it."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.startswith("/")


def check_admin(admin: AdminConfig, source: str) -> None:
    """Raises ConfigError for values that could not be served, or would be served to anybody."""
    if list(admin.buckets) != sorted(set(admin.buckets)) or len(admin.buckets) > MAX_BUCKETS:
        raise fault(source, "admin.buckets", f"expected at most {MAX_BUCKETS} ascending numbers")
    if admin.token is not None and not re.fullmatch(r"[!-~]{8,}", admin.token):
        raise fault(source, "admin.token", "expected at least 8 visible ASCII characters")
    if admin.write and admin.token is None:
        raise fault(source, "admin.token", "expected one, since admin.write is true")
    if admin.bind is not None and admin.token is None and not is_local(admin.bind.value[0]):
        raise fault(source, "admin.token", f"expected one, since {admin.bind} is not loopback")
