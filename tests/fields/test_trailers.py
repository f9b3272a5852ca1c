"""Which trailers pass, and who takes them."""

from __future__ import annotations

import pytest

from app.fields.headers import request_headers
from app.fields.trailers import WELCOME, passing_trailers, takes_trailers


@pytest.mark.parametrize(
    ("values", "takes"),
    [
        ([], False),
        ([b"trailers"], True),
        ([b"Trailers"], True),
        ([b"gzip;q=0.5,  trailers"], True),
        ([b"gzip", b"trailers"], True),
        ([b"gzip"], False),
        ([b"xtrailers"], False),
        ([b"trailers;q=0.5"], False),  # RFC 9110 §10.1.4: it has no weight
    ],
)
def test_who_takes_trailers(values: list[bytes], takes: bool) -> None:
    assert takes_trailers([(b"te", value) for value in values]) is takes


@pytest.mark.parametrize(
    "name",
    [
        b"x-checksum", b"grpc-status", b"grpc-message", b"server-timing", b"etag", b"digest",
        b"content-digest", b"repr-digest", b"authentication-info",
    ],
)  # fmt: skip
def test_what_is_known_at_the_end_passes(name: bytes) -> None:
    assert passing_trailers([(name, b"1"), (name, b"2")]) == [(name, b"1"), (name, b"2")]


@pytest.mark.parametrize(
    "name",
    [
        b"content-length", b"transfer-encoding", b"trailer", b"connection", b"keep-alive", b"te",
        b"upgrade", b"host", b"location", b"content-type", b"content-encoding", b"content-range",
        b"authorization", b"proxy-authorization", b"www-authenticate", b"proxy-authenticate",
        b"set-cookie", b"cookie", b"cache-control", b"expires", b"date", b"age", b"vary", b"range",
        b"if-match", b"expect", b"max-forwards", b"x-forwarded-for", b"x-forwarded-anything",
        b"forwarded", b"x-real-ip", b"x-request-id", b"x-client-cert-subject", b"via", b"x-debug",
        b"access-control-allow-origin", b"content_length", b"set_cookie", b"x_real_ip",
        b"Content-Length", b"strict-transport-security",
    ],
)  # fmt: skip
def test_what_only_a_head_may_say_does_not(name: bytes) -> None:
    assert passing_trailers([(name, b"1"), (b"x-a", b"2")]) == [(b"x-a", b"2")]


@pytest.mark.parametrize("value", [b"a\rb", b"a\nb", b"a\0b", b"a\x7fb"])
def test_a_control_character_does_not_pass(value: bytes) -> None:
    assert passing_trailers([(b"x-a", value)]) == []


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        pytest.param([(b"te", b"gzip, trailers"), (b"connection", b"TE")], True, id="named"),
        pytest.param([(b"te", b"trailers"), (b"connection", b"te, close")], True, id="and more"),
        pytest.param([(b"te", b"trailers")], True, id="HTTP/2 has no Connection"),
        pytest.param([(b"te", b"trailers"), (b"connection", b"close")], False, id="not named"),
        pytest.param([(b"te", b"gzip"), (b"connection", b"TE")], False, id="another coding"),
        pytest.param([(b"connection", b"TE")], False, id="nothing"),
    ],
)
def test_a_backend_learns_whether_trailers_are_taken(
    headers: list[tuple[bytes, bytes]], told: bool
) -> None:
    assert request_headers(headers, []) == (WELCOME if told else [])
