"""A request's head as HTTP/1.1 writes it."""

import pytest

from app.fields.known_fields import KnownRequest, RequestFields
from app.upstream.request_framing import request_head, request_length

FIELDS = [(b"host", b"a"), (b"x-a", b"")]


def fields_of(known: KnownRequest, number: bytes = b"1") -> RequestFields:
    fields = RequestFields((*known.fields, (b"x-request-id", number)))
    fields.known = known
    return fields


def test_known_fields_are_written_as_others_are():
    known = KnownRequest(FIELDS)
    for number in (b"1", b"22", b""):
        fields = fields_of(known, number)
        for line in ((b"GET", b"/"), (b"OPTIONS", b"*"), (b"GET", b"/?a")):
            assert request_head(*line, fields) == request_head(*line, [*fields])
    assert known.text == b"host: a\r\nx-a: \r\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.append((b"x", b"1")),
        lambda fields: fields.insert(0, (b"x", b"1")),
        lambda fields: fields.pop(),
        lambda fields: fields.pop(0),
        lambda fields: fields.clear(),
        lambda fields: fields.reverse(),
        lambda fields: fields.__setitem__(-1, (b"x", b"1")),
        lambda fields: fields.__setitem__(0, (b"host", b"b")),
    ],
)
def test_a_change_of_one_request_s_fields_is_its_own(change):
    known = KnownRequest(FIELDS)
    before = request_head(b"GET", b"/", fields_of(known))
    fields = fields_of(known)
    change(fields)
    assert request_head(b"GET", b"/", fields) == request_head(b"GET", b"/", [*fields]) != before
    assert request_head(b"GET", b"/", fields_of(known)) == before


@pytest.mark.parametrize(
    ("method", "target", "number"),
    [(b"GET", b"/ x", b"1"), (b"GET", b"/\n", b"1"), (b"GET\n", b"/", b"1"), (b"GET", b"/", b"\n")],
)
def test_what_would_make_another_request_of_it_is_refused(method, target, number):
    known = KnownRequest(FIELDS)
    with pytest.raises(ValueError, match="line break"):
        request_head(method, target, fields_of(known, number))
    with pytest.raises(ValueError, match="line break"):
        request_head(b"GET", b"/", fields_of(KnownRequest([(b"a", b"b\nc")])))


@pytest.mark.parametrize(
    ("framing", "length"),
    [([(b"content-length", b"7")], 7), ([(b"transfer-encoding", b"chunked")], None)],
)
def test_the_length_of_a_body_is_that_of_the_fields_as_they_are(framing, length):
    known = KnownRequest([*FIELDS, *framing])
    for _ in range(2):
        assert request_length(fields_of(known)) == length
    changed = fields_of(known)
    changed[-2:] = [(b"content-length", b"8"), (b"x-request-id", b"1")]
    assert request_length(changed) == 8
    changed = fields_of(KnownRequest(FIELDS))
    with pytest.raises(ValueError, match="needs a length"):
        request_length(changed)
    changed[-1] = (b"content-length", b"9")
    assert request_length(changed) == 9
