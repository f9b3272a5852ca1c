"""The fields of an answer over HTTP/2, made once for those that are known."""

from __future__ import annotations

import pytest

from app.fields.headers import response_headers
from app.fields.known_fields import KnownFields
from app.server.http2.answer_fields import final_fields

FIELDS = [(b"date", b"now"), (b"connection", b"close"), (b"content-length", b"2"), (b"X-A", b"b")]
SENT = [(b"date", b"now"), (b"content-length", b"2"), (b"x-a", b"b")]


def test_the_fields_of_a_known_answer_are_made_once() -> None:
    known = KnownFields(FIELDS)
    fields, length = final_fields(200, response_headers(known, 200), b"GET")
    assert (fields, length) == ([(b":status", b"200"), *SENT], 2)
    assert final_fields(200, response_headers(known, 200), b"GET")[0] is fields
    assert final_fields(200, FIELDS, b"GET") == (fields, length)


def test_what_is_added_to_a_known_answer_is_that_answer_s_own() -> None:
    known = KnownFields(FIELDS)
    before, _ = final_fields(200, response_headers(known, 200), b"GET")
    changed = response_headers(known, 200)
    changed.append((b"set-cookie", b"a=b"))
    assert final_fields(200, changed, b"GET")[0] == [*before, (b"set-cookie", b"a=b")]
    changed[:] = [(b"date", b"then")]
    assert final_fields(200, changed, b"GET") == ([(b":status", b"200"), (b"date", b"then")], -1)
    assert final_fields(200, response_headers(known, 200), b"GET")[0] is before
    assert final_fields(404, response_headers(known, 200), b"GET")[0][0] == (b":status", b"404")


def test_a_date_that_lacks_is_not_remembered() -> None:
    known = KnownFields(FIELDS[1:])
    for _ in range(2):
        fields, _ = final_fields(200, response_headers(known, 200), b"GET")
        assert [name for name, _ in fields].count(b"date") == 1
    assert known.section is not None
    assert (b"date", fields[-1][1]) not in known.section.fields


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 304), (b"GET", 204)])
def test_an_answer_without_a_body_tells_its_length_all_the_same(method: bytes, status: int) -> None:
    fields, length = final_fields(status, response_headers(KnownFields(FIELDS), 200), method)
    assert ((b"content-length", b"2") in fields, length) == (True, 0)


def test_known_fields_that_cannot_be_sent_are_refused_each_time() -> None:
    known = KnownFields([*FIELDS, (b"x-b", b"a\nb")])
    for _ in range(2):
        with pytest.raises(RuntimeError):
            final_fields(200, response_headers(known, 200), b"GET")
