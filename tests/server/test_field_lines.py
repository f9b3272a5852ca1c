"""The field lines of an answer's head, made once for fields that are known."""

import pytest

from app.fields.headers import response_headers
from app.fields.known_fields import KnownFields
from app.server.field_lines import field_lines, known_head, lines_of

FIELDS = [(b"date", b"now"), (b"connection", b"close"), (b"content-length", b"2"), (b"x-a", b"b")]


def test_what_the_server_writes_itself_is_left_out():
    lines = field_lines([*FIELDS, (b"Transfer-Encoding", b"chunked")])
    assert lines == (b"date: now\r\ncontent-length: 2\r\nx-a: b\r\n", 2, True, True)
    assert field_lines([]) == (b"", -1, False, False)


@pytest.mark.parametrize(
    "field",
    [(b"x", b"a\nb"), (b"x\r", b"a"), (b"x", b"\0"), (b"content-length", b"2"),
     (b"content-length", b"+2")],
)  # fmt: skip
def test_fields_that_cannot_be_sent_are_refused(field):
    with pytest.raises(RuntimeError):
        field_lines([*FIELDS, field])


def test_known_fields_pass_as_others_do():
    assert response_headers(KnownFields(FIELDS), 200) == response_headers(FIELDS, 200)
    known = KnownFields([(b"connection", b"x-a"), *FIELDS[2:]])
    assert response_headers(known, 200) == FIELDS[2:3]


def test_the_lines_of_known_fields_are_made_once():
    known = KnownFields(FIELDS)
    assert lines_of(response_headers(known, 200)) is lines_of(response_headers(known, 200))


def test_a_change_of_one_answer_s_fields_is_that_answer_s_own():
    known = KnownFields(FIELDS)
    before = lines_of(response_headers(known, 200))
    changed = response_headers(known, 200)
    changed.append((b"set-cookie", b"a=b"))
    assert lines_of(changed).text == before.text + b"set-cookie: a=b\r\n"
    changed[:] = [(b"x-other", b"1")]
    assert lines_of(changed).text == b"x-other: 1\r\n"
    assert lines_of(response_headers(known, 200)) is before


WHOLE = [(b"date", b"now"), (b"content-length", b"2"), (b"x-a", b"b")]
HEAD = b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 2\r\nx-a: b\r\n\r\n"


def test_the_head_of_a_known_answer_is_made_once():
    known = KnownFields(WHOLE)
    heads = [known_head(200, response_headers(known, 200), b"OK", 2) for _ in range(2)]
    assert heads == [HEAD, HEAD]
    assert heads[0] is heads[1]


@pytest.mark.parametrize(
    ("status", "fields", "length"),
    [(200, WHOLE, 3), (200, WHOLE[1:], 2), (200, [WHOLE[0]], 0), (426, WHOLE, 2), (204, WHOLE, 2)],
    ids=["another body", "without a date", "without a length", "with an upgrade", "without a body"],
)
def test_where_more_than_the_fields_belongs_to_a_head_it_is_not_known(status, fields, length):
    known = KnownFields(fields)
    for _ in range(2):
        assert not known_head(status, response_headers(known, status), b"OK", length)


def test_a_head_with_a_change_is_not_known():
    known = KnownFields(WHOLE)
    assert known_head(200, response_headers(known, 200), b"OK", 2) == HEAD
    changed = response_headers(known, 200)
    changed.append((b"set-cookie", b"a=b"))
    assert known_head(200, changed, b"OK", 2) is None
    assert known_head(200, [*WHOLE], b"OK", 2) is None
    assert known_head(200, response_headers(known, 200), b"OK", 2) == HEAD
