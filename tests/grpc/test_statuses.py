import pytest

from app.errors import (
    FrontendNotFound,
    Overloaded,
    ProxyError,
    Unauthorized,
    UpstreamConnectTimeout,
    UpstreamCut,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from app.grpc.own_answers import status_fields, status_of_error, status_of_http
from app.grpc.statuses import GrpcStatus, grpc_type, grpc_verdict, status_in
from app.health import Verdict


@pytest.mark.parametrize(
    ("kind", "is_one"),
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"application/grpc;charset=utf-8", True),
        (b"application/grpc-web-text+proto", True),
        (b"application/grpcx", False),
        (b"application/json", False),
    ],
)
def test_which_types_are_grpcs(kind: bytes, is_one: bool) -> None:
    assert grpc_type([(b"content-type", kind)]) == (kind if is_one else None)


@pytest.mark.parametrize(
    ("value", "status"),
    [(b"0", 0), (b"14", 14), (b"17", 2), (b"-1", 2), (b"1" * 5000, 2), (b"", 2), (b"x", 2)],
)
def test_a_status_is_read(value: bytes, status: int) -> None:
    assert status_in([(b"x", b"y"), (b"grpc-status", value)]) == status


def test_no_status() -> None:
    assert status_in([(b"x", b"y")]) is None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (FrontendNotFound(), GrpcStatus.UNIMPLEMENTED),
        (UpstreamUnreachable(), GrpcStatus.UNAVAILABLE),
        (UpstreamConnectTimeout(), GrpcStatus.UNAVAILABLE),
        (UpstreamTimeout(), GrpcStatus.DEADLINE_EXCEEDED),
        (UpstreamCut(), GrpcStatus.UNAVAILABLE),
        (Overloaded(), GrpcStatus.UNAVAILABLE),
        (Unauthorized("x"), GrpcStatus.UNAUTHENTICATED),
        (ProxyError(), GrpcStatus.UNKNOWN),
    ],
)
def test_the_status_of_an_error(error: ProxyError, status: GrpcStatus) -> None:
    assert status_of_error(error) is status


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (0, GrpcStatus.INTERNAL),
        (2, GrpcStatus.INTERNAL),
        (7, GrpcStatus.UNAVAILABLE),
        (8, GrpcStatus.CANCELLED),
        (11, GrpcStatus.RESOURCE_EXHAUSTED),
        (5000, GrpcStatus.UNKNOWN),
    ],
)
def test_the_status_of_a_reset(code: int, status: GrpcStatus) -> None:
    error = UpstreamCut()
    error.reset_code = code
    assert status_of_error(error) is status


@pytest.mark.parametrize(
    ("http", "status"),
    [(301, 2), (400, 13), (401, 16), (403, 7), (404, 12), (413, 8), (429, 14), (500, 2), (503, 14)],
)
def test_the_status_of_http(http: int, status: int) -> None:
    assert status_of_http(http) == status


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (GrpcStatus.OK, Verdict.ALIVE),
        (GrpcStatus.NOT_FOUND, Verdict.ALIVE),
        (GrpcStatus.INVALID_ARGUMENT, Verdict.ALIVE),
        (GrpcStatus.UNAVAILABLE, Verdict.EVIDENCE),
        (GrpcStatus.INTERNAL, Verdict.EVIDENCE),
        (GrpcStatus.CANCELLED, Verdict.NOTHING),
        (GrpcStatus.DEADLINE_EXCEEDED, Verdict.NOTHING),
        (GrpcStatus.UNIMPLEMENTED, Verdict.NOTHING),
    ],
)
def test_what_a_status_says_of_a_backend(status: GrpcStatus, verdict: Verdict) -> None:
    assert grpc_verdict(status, dead_on_500=True) is verdict


def test_defects_count_where_500_does() -> None:
    assert grpc_verdict(GrpcStatus.UNKNOWN, dead_on_500=False) is Verdict.NOTHING
    assert grpc_verdict(GrpcStatus.UNAVAILABLE, dead_on_500=False) is Verdict.EVIDENCE


def test_a_message_is_percent_encoded() -> None:
    fields = status_fields(GrpcStatus.INTERNAL, "50 %\r\nü")
    assert fields == [(b"grpc-status", b"13"), (b"grpc-message", b"50 %25%0D%0A%C3%BC")]
