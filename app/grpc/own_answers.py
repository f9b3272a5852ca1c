"""What a gRPC client reads where the proxy answers itself: a status, and no error page. Pure."""

from __future__ import annotations

from ..errors import (
    FrontendNotFound,
    ProxyError,
    UpstreamConnectTimeout,
    UpstreamError,
    UpstreamTimeout,
)
from ..fields.headers import RawHeaders
from .statuses import GrpcStatus

_OF_ERRORS: tuple[tuple[type[ProxyError], GrpcStatus], ...] = (
    (FrontendNotFound, GrpcStatus.UNIMPLEMENTED),
    (UpstreamConnectTimeout, GrpcStatus.UNAVAILABLE),
    (UpstreamTimeout, GrpcStatus.DEADLINE_EXCEEDED),
)
"""The first that fits; for other errors their HTTP status or HTTP/2's error code decides."""
_OF_HTTP = {
    400: GrpcStatus.INTERNAL, 401: GrpcStatus.UNAUTHENTICATED, 403: GrpcStatus.PERMISSION_DENIED,
    404: GrpcStatus.UNIMPLEMENTED, 413: GrpcStatus.RESOURCE_EXHAUSTED, 429: GrpcStatus.UNAVAILABLE,
    431: GrpcStatus.RESOURCE_EXHAUSTED, 502: GrpcStatus.UNAVAILABLE, 503: GrpcStatus.UNAVAILABLE,
    504: GrpcStatus.UNAVAILABLE,
}  # fmt: skip
"""gRPC's "HTTP to gRPC Status Code Mapping"; 413 and 431 are ours: a server's own word for them."""
_OF_RESETS = {
    **dict.fromkeys((0, 1, 2, 3, 4, 5, 6, 9, 10), GrpcStatus.INTERNAL),
    7: GrpcStatus.UNAVAILABLE, 8: GrpcStatus.CANCELLED, 11: GrpcStatus.RESOURCE_EXHAUSTED,
    12: GrpcStatus.PERMISSION_DENIED,
}  # fmt: skip
"""gRPC over HTTP/2, "Errors": what RST_STREAM's error codes mean."""


def status_of_http(status: int) -> GrpcStatus:
    """What an HTTP status means to a gRPC client."""
    return _OF_HTTP.get(status, GrpcStatus.UNKNOWN)


def status_of_error(error: ProxyError) -> GrpcStatus:
    """The status of a request that failed with `error`."""
    for kind, status in _OF_ERRORS:
        if isinstance(error, kind):
            return status
    if isinstance(error, UpstreamError) and error.reset_code is not None:
        return _OF_RESETS.get(error.reset_code, GrpcStatus.UNKNOWN)
    return status_of_http(error.status)


def status_fields(status: GrpcStatus, message: str) -> RawHeaders:
    """Trailers that end a call."""
    return [(b"grpc-status", b"%d" % status), (b"grpc-message", _percent_encoded(message))]


def trailers_only(kind: bytes, status: GrpcStatus, message: str) -> RawHeaders:
    """The fields of an answer that has no body, to a request whose content type is `kind`."""
    return [(b"content-type", kind), (b"content-length", b"0"), *status_fields(status, message)]


def _percent_encoded(text: str) -> bytes:
    """As the specification's "Percent-Encoded".

    >>> _percent_encoded("100 % ü")
    b'100 %25 %C3%BC'
    """
    return b"".join(
        b"%c" % octet if 0x20 <= octet <= 0x7E and octet != 0x25 else b"%%%02X" % octet
        for octet in text.encode("utf-8", "replace")
    )
