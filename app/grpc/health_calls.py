"""gRPC's own health check, `grpc.health.v1`: the call, and what its answer says. Pure."""

from __future__ import annotations

from ..fields.headers import RawHeaders
from .statuses import GrpcStatus, status_in

PATH = b"/grpc.health.v1.Health/Check"
FIELDS: RawHeaders = [
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
    (b"transfer-encoding", b"chunked"),  # the body ends with its stream
    (b"user-agent", b"hipache-health-check"),
]
MAX_SERVICE = 127
"""Bytes of a service's name: their number takes one byte in a message."""
MAX_ANSWER = 1024
_SERVING = 1
_WORDS = {0: "UNKNOWN", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_STATUS = b"\x08"
"""In front of field 1, a number (protobuf's tag)."""


def check_call(service: str) -> bytes:
    """The body of the call: one message, HealthCheckRequest. "" asks of the whole server.

    >>> check_call("a.B")
    b'\\x00\\x00\\x00\\x00\\x05\\n\\x03a.B'
    """
    name = service.encode()
    message = b"\n%c%b" % (len(name), name) if name else b""
    return b"\0" + len(message).to_bytes(4, "big") + message


def problem_with_call(http: int, fields: RawHeaders, body: bytes | None) -> str | None:
    """Why this answer does not say SERVING; None if it does. `fields`: trailers among them."""
    if http != 200:
        return f"status {http}"
    status = status_in(fields)
    if status is None:
        return "the answer has no gRPC status"
    if status is not GrpcStatus.OK:
        return f"gRPC status {status.name}"
    message = (body or b"")[5:]
    state = message[1] if len(message) > 1 and message[:1] == _STATUS else 0
    return None if state == _SERVING else f"health {_WORDS.get(state, state)}"
