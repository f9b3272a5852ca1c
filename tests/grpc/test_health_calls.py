"""gRPC's health check: what is asked, and what the answers mean."""

import doctest

import pytest

from app.grpc import health_calls
from app.grpc.health_calls import check_call, problem_with_call

OK = [(b"grpc-status", b"0")]


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(health_calls).failed == 0


def test_the_whole_server_is_asked_by_an_empty_message() -> None:
    assert check_call("") == bytes(5)


@pytest.mark.parametrize(
    ("http", "fields", "message", "problem"),
    [
        (200, OK, b"\x08\x01", None),
        (200, OK, b"\x08\x02", "health NOT_SERVING"),
        (200, OK, b"\x08\x03", "health SERVICE_UNKNOWN"),
        (200, OK, b"", "health UNKNOWN"),
        (200, OK, b"\x0a\x01", "health UNKNOWN"),
        (200, OK, b"\x08\x09", "health 9"),
        (200, [(b"grpc-status", b"12")], b"", "gRPC status UNIMPLEMENTED"),
        (200, [], b"\x08\x01", "the answer has no gRPC status"),
        (404, OK, b"\x08\x01", "status 404"),
    ],
)
def test_what_an_answer_says(
    http: int, fields: list[tuple[bytes, bytes]], message: bytes, problem: str | None
) -> None:
    assert problem_with_call(http, fields, bytes(5) + message) == problem
