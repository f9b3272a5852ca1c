"""Field sections towards backends of HTTP/2, and from them."""

from __future__ import annotations

import pytest

from app.errors import UpstreamBadAnswer
from app.fields.headers import RawHeaders
from app.fields.known_fields import KnownFields, KnownRequest, RequestFields
from app.upstream.http2.answer_sections import LARGEST, MOST, AnswerSections
from app.upstream.http2.request_section import request_section, web_socket_section

GRPC = ((b":status", b"200"), (b"content-type", b"application/grpc"))


def section(headers: RawHeaders, target: bytes = b"/a") -> RawHeaders:
    return request_section(b"POST", target, headers, b"https")


@pytest.mark.parametrize("again", [1, 2])
def test_a_request_has_an_authority_and_no_field_of_its_connection(again: int) -> None:
    for _ in range(again):
        assert section([
            (b"x-a", b"1"), (b"Host", b"a.test"), (b"TE", b"trailers"),
            (b"transfer-encoding", b"chunked"), (b"connection", b"TE"), (b"x-a", b"2"),
        ]) == [
            (b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"a.test"),
            (b":path", b"/a"), (b"x-a", b"1"), (b"te", b"trailers"), (b"x-a", b"2"),
        ]  # fmt: skip


def test_fields_with_the_names_of_others_keep_their_own_values() -> None:
    assert section([(b"x-a", b"1"), (b"host", b"a")])[2:] == [
        (b":authority", b"a"), (b":path", b"/a"), (b"x-a", b"1"),
    ]  # fmt: skip
    assert section([(b"x-a", b"2"), (b"host", b"b")])[2:] == [
        (b":authority", b"b"), (b":path", b"/a"), (b"x-a", b"2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("headers", "target", "error"),
    [
        ([(b"x a", b"1")], b"/", "malformed field name"),
        ([(b"", b"1")], b"/", "malformed field name"),
        ([(b"x\nb", b"1")], b"/", "malformed field name"),
        ([(b"x-a", b"1\r\n2")], b"/", "CR, LF or NUL"),
        ([(b"host", b"a\nb")], b"/", "CR, LF or NUL"),
        ([], b"/a\0b", "CR, LF or NUL"),
        ([], b"/a b", "a space"),
    ],
)
def test_what_would_not_stay_what_it_is_is_refused(
    headers: RawHeaders, target: bytes, error: str
) -> None:
    for _ in range(2):  # nor is it remembered
        with pytest.raises(RuntimeError, match=error):
            section(headers, target)


@pytest.mark.parametrize("host", [[], [(b"host", b"a.test")]], ids=["no host", "a host"])
def test_fields_that_are_known_are_sent_as_others_are(host: RawHeaders) -> None:
    known = KnownRequest([*host, (b"X-A", b"1"), (b"connection", b"TE"), (b"te", b"trailers")])

    def fields(number: bytes) -> RequestFields:
        made = RequestFields([*known.fields, (b"x-request-id", number)])
        made.known = known
        return made

    for number, target, scheme in (
        (b"1", b"/", b"http"),
        (b"2", b"/b", b"http"),
        (b"3", b"/", b"https"),
    ):
        for method in (b"GET", b"POST"):
            found = request_section(method, target, fields(number), scheme)
            assert found == request_section(method, target, [*fields(number)], scheme)
            found.clear()  # its own
    changed = fields(b"4")
    changed[0] = (b"x-b", b"5")
    changed[-1] = (b"Connection", b"x")
    assert section(changed) == section([*changed])
    for number, target in ((b"1\n", b"/"), (b"1", b"/\r"), (b"1", b"/ "), (b"1", b"/\0")):
        with pytest.raises(RuntimeError):
            section(fields(number), target)


def test_a_handshake_has_no_key() -> None:
    headers = [(b"host", b"a"), (b"sec-websocket-key", b"x"), (b"sec-websocket-version", b"13")]
    assert web_socket_section(b"CONNECT", b"/", headers, b"http") == [
        (b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"),
        (b":authority", b"a"), (b":path", b"/"), (b"sec-websocket-version", b"13"),
    ]  # fmt: skip


def test_an_answer_that_repeats_is_found_from_the_third_time_on() -> None:
    known = AnswerSections()
    read = [known.read(GRPC) for _ in range(4)]
    assert read == [(200, [GRPC[1]])] * 4
    assert [isinstance(fields, KnownFields) for _, fields in read] == [False, False, True, True]
    assert read[2][1] is read[3][1]


@pytest.mark.parametrize(
    "answer",
    [
        ((b":status", b"99"),),
        ((b"x-a", b"1"),),
        ((b":status", b"200"), (b"content-length", b"1, 2")),
    ],
)
def test_an_answer_that_is_none_is_not_remembered(answer: tuple[tuple[bytes, bytes], ...]) -> None:
    known = AnswerSections()
    for _ in range(3):
        with pytest.raises(UpstreamBadAnswer):
            known.read(answer)
    assert not known


def test_answers_that_always_differ_or_are_large_fill_no_memory() -> None:
    known = AnswerSections()
    for number in range(2 * MOST + 5):
        known.read((*GRPC, (b"x-trace", b"%d" % number)))
        known.read((*GRPC, (b"x-large", b"x" * LARGEST)))
    assert len(known) <= MOST
    assert not any(known.values())
