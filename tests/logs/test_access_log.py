"""One record, one line, in each format."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.logs.access_log import COMBINED, FIELDS, HIPACHE, compile_format
from app.logs.record import AccessRecord, HeadRecord

HOSTILE = [
    pytest.param(b'" 200 0 "forged', r"\x22 200 0 \x22forged", id="quotes"),
    pytest.param(b"a\r\n::1 - - forged", r"a\x0D\x0A::1 - - forged", id="a line break"),
    pytest.param(b"a\\x22", r"a\x5Cx22", id="a backslash"),
    pytest.param(b"\x00\x1b[31m\x7f", r"\x00\x1B[31m\x7F", id="control bytes"),
    pytest.param("é\u2028".encode(), r"\xC3\xA9\xE2\x80\xA8", id="not ASCII"),
    pytest.param(b"%s {client} %(x)", "%s {client} %(x)", id="format characters are only text"),
]


def record(**fields: object) -> AccessRecord:
    """Hipache's own test request (test/unit/logger.js, 0.4), with `fields` changed."""
    made = AccessRecord(1392511390.1, HeadRecord())
    given = {
        "client": "::1",
        "method": "GET",
        "target": b"/",
        "status": 200,
        "bytes_out": 3236,
        "user_agent": b"curl/7.30.0",
        "identifier": "mywebsite",
        "total_time": 0.011,
        "head_time": 0.009,
    }
    for name, value in (given | fields).items():
        setattr(made.head if name in HeadRecord.__slots__ else made, name, value)
    return made


def test_hipaches_own_line():
    assert compile_format("hipache")(record()) == (
        '::1 - - [16/Feb/2014:00:43:10 +0000] "GET / HTTP/1.1" 200 3236 "" "curl/7.30.0" '
        '"mywebsite" 0.011 0.009'
    )


def test_nginxs_combined_line():
    assert compile_format("combined")(record(target=b"/a?b=c", referer=b"http://r/")) == (
        '::1 - - [16/Feb/2014:00:43:10 +0000] "GET /a?b=c HTTP/1.1" 200 3236 "http://r/" '
        '"curl/7.30.0"'
    )


def test_a_request_that_never_reached_a_backend_has_a_line_too():
    line = compile_format("hipache")(
        record(method="", status=400, bytes_out=0, user_agent=b"", identifier="", head_time=None)
    )
    assert line.endswith('"-" 400 0 "" "" "" 0.011 -')


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0"), (0.0004, "0"), (0.0006, "0.001"), (0.1, "0.1"), (1.0, "1"), (61.25, "61.25"),
     (86400.0, "86400"), (100.0, "100")],
)  # fmt: skip
def test_times_are_written_as_javascript_did(seconds, text):
    assert compile_format("{total_time}")(record(total_time=seconds)) == text


def test_json_has_every_field_and_null_for_what_there_was_not():
    line = compile_format("json")(
        record(
            start=1392511390.125,
            request_id="0192f",
            target="/é".encode(),
            retried_from=("http://a", "http://b"),
            connect_time=0.0001234,
            error='said "no"\n',
        )
    )
    values = json.loads(line)
    assert tuple(values) == FIELDS
    assert values["time"] == "2014-02-16T00:43:10.125Z"
    assert (values["target"], values["error"]) == ("/é", 'said "no"\n')
    assert values["retried_from"] == ["http://a", "http://b"]
    assert (values["connect_time"], values["total_time"]) == (0.000123, 0.011)
    assert (values["referer"], values["tls"], values["close_code"]) == (None, None, None)


def test_every_field_of_the_record_is_in_the_json():
    of_record = {*AccessRecord.__slots__} - {"start", "head"}
    assert set(FIELDS) - {"time"} == of_record | ({*HeadRecord.__slots__} - {"texts"})


@pytest.mark.parametrize("template", ["hipache", "combined", "json", "{client}{target}{host}"])
def test_requests_that_share_a_head_are_told_apart(template):
    line, first = compile_format(template), record(host="a", referer=b"r")
    second = record(host="a", referer=b"r", target=b"/other", status=500)
    alone = [compile_format(template)(each) for each in (first, second)]
    compile_format("{client} {host}")(first)  # another format leaves texts of its own
    second.head = first.head
    assert [line(first), line(second), line(first)] == [*alone, alone[0]]


def test_a_websocket_tells_its_messages_and_its_end():
    line = compile_format("{status} {messages_in} {messages_out} {close_code} {closed_by}")
    assert line(record(status=101)) == "101 - - - -"
    assert line(record(messages_in=0, messages_out=7, close_code=1000, closed_by="client")) == (
        "200 0 7 1000 client"
    )


def test_a_template_of_named_fields():
    line = compile_format("{{{host}}} 100% {user_agent!e}|{referer!e}|{referer} {retried_from}")
    assert line(record(host="a.org", retried_from=("http://a", "http://b"))) == (
        "{a.org} 100% curl/7.30.0||- http://a http://b"
    )


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("combine", "expected hipache, combined, json or a template such as {client} {status}"),
        ("", "expected hipache, combined, json or a template"),
        ("{clientt}", "unknown field {clientt}; did you mean {client}?"),
        ("{}", "unknown field {}"),
        ("{client.__class__}", "unknown field {client.__class__}"),
        ("{client[0]}", "unknown field {client[0]}"),
        ("{status:>9}", "{status} allows only !e after it"),
        ("{status!r}", "{status} allows only !e after it"),
        ("{status", "expected '}' before end of string"),
        ("{client}\n", "a template must fit in one line"),
    ],
)
def test_a_wrong_template_is_told(template, problem):
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}"):
        compile_format(template)


@pytest.mark.parametrize(("value", "written"), HOSTILE)
@pytest.mark.parametrize("field", ["target", "referer", "user_agent"])
def test_what_a_client_sent_can_not_break_a_line(field, value, written):
    assert compile_format(f'"{{{field}}}"')(record(**{field: value})) == f'"{written}"'


@pytest.mark.parametrize(("value", "written"), HOSTILE)
@pytest.mark.parametrize("field", ["host", "identifier", "error", "client", "backend", "method"])
def test_nor_can_a_name_from_anywhere_else(field, value, written):
    line = compile_format(f'"{{{field}}}"')(record(**{field: value.decode("utf-8")}))
    assert line == f'"{written}"'


@given(st.binary(max_size=300), st.text(max_size=300))
def test_every_line_has_its_fields_and_no_more(data, text):
    hostile = record(target=data, referer=data, user_agent=data, host=text, error=text)
    hostile.identifier = text
    quoted = re.compile(r'[^ "]+ - - \[[^]]+\] "[^"]*" \d+ \d+ "[^"]*" "[^"]*"( "[^"]*" \S+ \S+)?')
    for template in (COMBINED, HIPACHE):
        line = compile_format(template)(hostile)
        assert quoted.fullmatch(line)
        assert line.isascii()
        assert line.isprintable()
    assert json.loads(compile_format("json")(hostile))["error"] == (text or None)


@pytest.mark.skipif(not shutil.which("goaccess"), reason="goaccess is not installed")
def test_goaccess_reads_a_day_of_the_combined_format(tmp_path):
    line = compile_format("combined")
    records = [
        record(method="", status=400),
        record(target=b'/"\xff\n', user_agent=b'" \\'),
        record(client="2001:db8::1", referer=b"http://r/"),
        record(status=101, method="GET", target=b"/socket"),
        record(client="10.0.0.1", status=502, bytes_out=0, user_agent=b""),
    ]
    log = tmp_path / "access.log"
    with log.open("w") as file:
        for number, entry in enumerate(records * 200):
            entry.start = 1392508800.0 + number * 86
            file.write(line(entry) + "\n")
    command = ["goaccess", log, "--log-format=COMBINED", "-o", "json", "--no-global-config",
               f"--invalid-requests={tmp_path}/invalid"]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    general = json.loads(ran.stdout)["general"]
    assert (general["total_requests"], general["failed_requests"]) == (1000, 0)
