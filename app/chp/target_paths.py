"""Paths as a hub's proxy reads them, and what a target is asked for. Pure.

Routes are named by decoded paths, so `/user/a%40b` and `/user/a@b` are one. As a browser does,
`.` and `..` are taken out first: what a route takes and what its target gets is the same path.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote, unquote_to_bytes, urlsplit, urlunsplit

from ..errors import ProxyError
from ..fields.headers import RawHeaders
from ..frontends.backends import WEB_PORTS, Backend, InvalidBackendURL, parse_backend

UNIX_SCHEMES = frozenset({"http+unix", "unix+http"})
_REDIRECTS = frozenset({201, 301, 302, 307, 308})
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class UndecodablePath(ProxyError):
    """The path is no UTF-8 once it is %-decoded, or cannot be decoded."""

    status = 500
    message = "the path cannot be decoded"


class HubTarget(NamedTuple):
    """Where a route leads, beside its host and port."""

    path: bytes
    query: bytes
    authority: bytes
    """As in `Host`: without the scheme's own port."""


def plain_path(target: bytes) -> bytes:
    """The path of a request's target without `.` and `..` (WHATWG URL, path state).

    >>> plain_path(b"/a/../b/%2e/c?x=/.."), plain_path(b"/a//b%2Fc")
    (b'/b/c', b'/a//b%2Fc')
    """
    path = target.partition(b"?")[0]
    if b"/." not in path and b"/%2" not in path and b"\\" not in path:
        return path
    kept: list[bytes] = []
    segments = path.replace(b"\\", b"/").split(b"/")[1:]
    for segment in segments:
        read = segment.lower().replace(b"%2e", b".")
        if read == b"..":
            del kept[-1:]
        elif read != b".":
            kept.append(segment)
    if segments[-1:] and segments[-1].lower().replace(b"%2e", b".") in {b".", b".."}:
        kept.append(b"")
    return b"/" + b"/".join(kept)


def decoded(path: bytes) -> str:
    """A path without its escapes. Raises UndecodablePath."""
    if b"%" not in path:
        return path.decode("latin-1")
    if _BAD_ESCAPE.search(path):
        raise UndecodablePath
    try:
        return unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        raise UndecodablePath from None


def clean_path(path: str) -> str:
    """A route's name: with a slash in front, and none behind.

    >>> clean_path("user/a/"), clean_path("/")
    ('/user/a', '/')
    """
    path = path if path.startswith("/") else f"/{path}"
    return path[:-1] if len(path) > 1 and path.endswith("/") else path


def backend_of(target: str) -> Backend:
    """The backend of a route's target, whose path counts here. Raises InvalidBackendURL."""
    parts = urlsplit(target)
    if parts.scheme in UNIX_SCHEMES:
        socket = parse_backend(f"unix:{unquote(parts.netloc)}", 0)
        return Backend(target, 0, "unix", socket.host, 0)
    if parts.scheme not in WEB_PORTS:
        raise InvalidBackendURL(f"{target!r}: scheme is none of http, https, http+unix")
    return parse_backend(target, 0)


@lru_cache(maxsize=4096)
def target_of(url: str) -> HubTarget:
    """The parts of a route's target that its backend does not tell."""
    parts = urlsplit(url)
    authority = parts.netloc.rpartition("@")[2].lower()
    if parts.scheme in UNIX_SCHEMES:
        authority = "localhost"
    elif parts.port == WEB_PORTS.get(parts.scheme):
        authority = authority.rpartition(":")[0]
    path = parts.path or "/"
    return HubTarget(path.encode(), parts.query.encode(), authority.encode())


def join(base: bytes, base_query: bytes, path: bytes, query: bytes) -> bytes:
    """The target's path and then the request's, with one slash between them, and both queries.

    >>> join(b"/foo/", b"", b"/bar", b"x"), join(b"/foo", b"a=1", b"", b"b=2")
    (b'/foo/bar?x', b'/foo?a=1&b=2')
    """
    if path:
        path = path if path.startswith(b"/") else b"/" + path
        path = base + (path[1:] if base.endswith(b"/") else path)
    else:
        path = base
    queries = b"&".join(filter(None, (base_query, query)))
    return b"%b?%b" % (path, queries) if queries else path


def without_prefix(path: bytes, prefix: str) -> bytes:
    """What follows a route's name in a path that it took, which may spell it with escapes.

    >>> without_prefix(b"/b%40r/x%2Fy", "/b@r"), without_prefix(b"/x", "/")
    (b'/x%2Fy', b'/x')
    """
    if prefix == "/":
        return path
    left = len(prefix.encode())
    at = 0
    while left > 0 and at < len(path):
        at += 3 if path[at] == ord("%") else 1
        left -= 1
    return path[at:]


def rewritten_location(
    status: int, location: bytes, target: HubTarget, *, host: bytes | None, scheme: str | None
) -> bytes:
    """A redirect of the target's to itself, made one to `host` and `scheme` where they are given.

    >>> to = HubTarget(b"/", b"", b"127.0.0.1:81")
    >>> rewritten_location(301, b"http://127.0.0.1:81/x", to, host=b"hub.org", scheme="https")
    b'https://hub.org/x'
    """
    if status not in _REDIRECTS:
        return location
    try:
        parts = urlsplit(location.decode("ascii"))
        same = target_of(location.decode("ascii")).authority == target.authority
    except ValueError:
        return location
    if not (parts.scheme and same):
        return location
    authority = parts.netloc if host is None else host.decode("latin-1")
    return urlunsplit(
        (scheme or parts.scheme, authority, parts.path or "/", parts.query, parts.fragment)
    ).encode("latin-1")


def with_field(headers: RawHeaders, name: bytes, value: bytes) -> None:
    """Set a field in place, in the stead of all of that name."""
    headers[:] = [field for field in headers if field[0] != name]
    headers.append((name, value))
