"""A prefix that ends here: the backend is asked for what follows it (`strip on`)."""

from __future__ import annotations

from ..fields.headers import field
from ..fields.names import as_read
from ..fields.passing import Rule
from .request import Request

PREFIX = b"x-forwarded-prefix"


def strip_prefix(request: Request, prefix: bytes) -> None:
    """Ask the backend for the path behind `prefix`, and tell it in X-Forwarded-Prefix what went.

    `/s` becomes `/`; the rest, query included, stays as it came. What a trusted proxy in front has
    taken off already stands before ours.
    """
    rest = request.target[len(prefix) :]
    request.backend_target = rest if rest.startswith(b"/") else b"/" + rest
    gone = prefix
    if request.passing[PREFIX] is Rule.PASS and (before := field(request.headers, PREFIX)):
        gone = before.rstrip(b"/") + prefix
    request.headers = [item for item in request.headers if as_read(item[0]) != PREFIX]
    request.ours += ((PREFIX, gone),)
