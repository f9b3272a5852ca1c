"""The statuses of gRPC, in header fields (gRPC over HTTP/2, "Responses"). Pure."""

from __future__ import annotations

from enum import IntEnum

from ..fields.headers import RawHeaders, field
from ..fields.trailers import Trailers
from ..health import Verdict


class GrpcStatus(IntEnum):
    """How a call ended."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_BY_TEXT = {b"%d" % status: status for status in GrpcStatus} | {
    b"%02d" % status: status for status in GrpcStatus
}
_SAYS_NOTHING = frozenset({
    GrpcStatus.CANCELLED, GrpcStatus.DEADLINE_EXCEEDED,  # the client chose when
    GrpcStatus.RESOURCE_EXHAUSTED,  # a quota of the client's, or a message that is too large
    GrpcStatus.UNIMPLEMENTED,  # the client chose the method
})  # fmt: skip
_DEFECTS = frozenset({GrpcStatus.UNKNOWN, GrpcStatus.INTERNAL, GrpcStatus.DATA_LOSS})
"""What a server answers after an exception: gRPC's 500."""


def grpc_type(headers: RawHeaders) -> bytes | None:
    """The content type of a message of gRPC or gRPC-Web; None for any other.

    >>> grpc_type([(b"content-type", b"application/grpc+proto")])
    b'application/grpc+proto'
    """
    kind = field(headers, b"content-type")
    if kind is None or not kind.startswith(b"application/grpc"):
        return None
    rest = kind[16:17]
    return kind if rest in b"+;" or kind.startswith(b"application/grpc-web") else None


def status_in(fields: Trailers) -> GrpcStatus | None:
    """The status that a head or trailers tell. What is no known number is UNKNOWN."""
    value = field(fields, b"grpc-status")
    return None if value is None else _BY_TEXT.get(value, GrpcStatus.UNKNOWN)


def grpc_verdict(status: GrpcStatus, *, dead_on_500: bool) -> Verdict:
    """What a backend's status says about it; `dead_on_500` is `server.deadBackendOn500`.

    A visitor chooses what is asked, so a status that tells of the question says that the backend
    is alive: it has looked at it.
    """
    if status is GrpcStatus.UNAVAILABLE:
        return Verdict.EVIDENCE
    if status in _DEFECTS:
        return Verdict.EVIDENCE if dead_on_500 else Verdict.NOTHING
    return Verdict.NOTHING if status in _SAYS_NOTHING else Verdict.ALIVE
