"""The form in which a frontend's key is looked up. Pure."""

from __future__ import annotations

from ..errors import BadHost
from ..frontends.site import can_match, host_of, prefix_of
from ..routing import MAX_WILDCARD_LABELS, normalise_host
from .wire_names import wire_name


def looked_up_as(key: str) -> str:
    """A key as people write it, in that form.

    >>> looked_up_as("*.Example.COM."), looked_up_as("Example.com/API/")
    ('*.example.com', 'example.com/API')

    Raises ValueError where no request could ever match it.
    """
    if "://" in key:
        meant = key.partition("://")[2].strip("/")
        raise ValueError(f"{key!r} is no host: it is a URL (did you mean {meant}?)")
    prefix = prefix_of(key).rstrip("/")
    if prefix and not can_match(prefix):
        raise ValueError(f"{key!r}: no path of a request begins with {prefix!r}")
    return _host(host_of(key)) + prefix


def _host(key: str) -> str:
    if key == "*":
        return key
    wildcard, host = key.startswith("*."), key.removeprefix("*.")
    try:
        name = normalise_host(host.encode("latin-1", "replace"))
    except BadHost:
        hint = f"; in a request it is {wire_name(key)!r}" if wire_name(key) else ""
        raise ValueError(f"{key!r} is no host, no *.domain and not *{hint}") from None
    if ":" in host and not host.startswith("["):
        raise ValueError(f"{key!r}: the key is the host without its port: {name!r}")
    if not wildcard:
        return name
    if name.startswith("["):
        raise ValueError(f"{key!r}: an address has no wildcard")
    if name.count(".") >= MAX_WILDCARD_LABELS:
        raise ValueError(
            f"{key!r} never matches: a wildcard has at most {MAX_WILDCARD_LABELS} labels"
        )
    return f"*.{name}"
