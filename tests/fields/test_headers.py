"""Which fields pass, and which stop."""

import doctest

import pytest

from app.fields import headers
from app.fields.headers import RawHeaders, has_body, request_headers, response_headers
from app.fields.names import HOP_BY_HOP


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(headers).failed == 0


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_hop_by_hop_fields_stop_in_both_directions(name: bytes) -> None:
    fields = [(b"a", b"1"), (name, b"x"), (b"b", b"2")]
    assert [n for n, _ in response_headers(fields, 200)] == [b"a", b"b"]
    kept = [n for n, _ in request_headers(fields, ())]
    assert kept == [b"a", b"b"] + ([name] if name == b"transfer-encoding" else [])


@pytest.mark.parametrize("name", [b"x_real_ip", b"x-forwarded_for", b"x_client_cert_subject"])
def test_a_client_can_not_say_who_it_is_with_underscores(name: bytes) -> None:
    """CGI and WSGI read X_Real_IP and X-Real-IP as the same variable."""
    ours = [(b"x-real-ip", b"1.1.1.1")]
    assert request_headers([(name, b"6.6.6.6"), (b"x_other", b"1")], ours) == [
        (b"x_other", b"1"),
        *ours,
    ]


@pytest.mark.parametrize("value", [b"x-secret", b"close, X-Secret", b"keep-alive,x-secret ,"])
def test_what_connection_names_stops_here(value: bytes) -> None:
    fields = [(b"connection", value), (b"x-secret", b"1"), (b"x-other", b"2")]
    assert request_headers(fields, ()) == [(b"x-other", b"2")]
    assert response_headers(fields, 200) == [(b"x-other", b"2")]


@pytest.mark.parametrize("name", [b"host", b"content-length", b"authorization", b"cookie"])
def test_connection_can_not_take_framing_or_credentials_away(name: bytes) -> None:
    fields = [(b"connection", name), (name, b"7")]
    assert request_headers(fields, ()) == [(name, b"7")]


def test_connection_can_not_take_our_own_fields_away() -> None:
    fields = [(b"connection", b"x-real-ip"), (b"x-real-ip", b"6.6.6.6")]
    assert request_headers(fields, [(b"x-real-ip", b"1.1.1.1")]) == [(b"x-real-ip", b"1.1.1.1")]


def test_repeated_fields_stay_repeated_and_in_order() -> None:
    fields = [(b"set-cookie", b"a=1"), (b"x", b"\xff\xe9"), (b"set-cookie", b"b=2"), (b"x", b"")]
    assert response_headers(fields, 200) == fields
    assert request_headers(fields, ()) == fields


def test_a_chunked_request_stays_chunked() -> None:
    fields = [(b"transfer-encoding", b"Chunked"), (b"a", b"1")]
    assert request_headers(fields, ()) == [(b"a", b"1"), (b"transfer-encoding", b"chunked")]


def test_chunks_leave_no_length_beside_them() -> None:
    """Other servers than ours (h11) let both through; a backend may believe the length."""
    fields = [(b"content-length", b"3"), (b"transfer-encoding", b"chunked")]
    assert request_headers(fields, ()) == [(b"transfer-encoding", b"chunked")]


def test_a_204_has_no_length() -> None:
    fields = [(b"content-length", b"0")]
    assert response_headers(fields, 204) == []
    assert response_headers(fields, 304) == fields


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], False),
        ([(b"content-length", b"0")], False),
        ([(b"content-length", b"000")], False),
        ([(b"content-length", b"10")], True),
        ([(b"transfer-encoding", b"chunked")], True),
    ],
)
def test_a_body_is_announced(fields: RawHeaders, expected: bool) -> None:
    assert has_body(fields) is expected
