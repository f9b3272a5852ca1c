"""A story in plain words."""

from __future__ import annotations

import doctest

import pytest
from msgspec.structs import replace

from app.health import Outcome, Verdict
from app.recorder import stories, telling
from app.recorder.stories import MAX_TARGET, Kind, Story, Try, masked_target
from app.recorder.telling import row, told

REFUSED = Try(
    "http://127.0.0.1:1", Outcome.REFUSED, Verdict.DEAD, "cannot connect: refused", 0.0, total=0.001
)
SLOW = Try("http://127.0.0.1:2", Outcome.ANSWER_TIMEOUT, Verdict.EVIDENCE, "", 0.001, total=3.0)
GOOD = Try(
    "http://127.0.0.1:3", Outcome.ANSWERED, Verdict.ALIVE, "status 200", 3.0, 0.012, 0.02, 0.0004
)


def story(kind: Kind = Kind.FAILED, **changes: object) -> Story:
    values: dict[str, object] = {
        "id": "0192ab", "kind": kind, "at": 1764193267.0, "method": "GET", "scheme": "https",
        "host": "www.a.test", "target": "/cart?id=…", "http_version": "1.1", "tls": "TLSv1.3",
        "client": "127.0.0.1", "proxy": "here:42", "worker": 3, "frontend": "*.a.test",
        "tries": [REFUSED, SLOW], "status": 502, "error": "no backend answered",
        "seconds": 3.001, "bytes_in": 0, "bytes_out": 1234,
    }  # fmt: skip
    return Story(**(values | changes))  # type: ignore[arg-type]


def test_every_attempt_has_its_line() -> None:
    assert list(told(story())) == [
        "GET https://www.a.test/cart?id=…  502 after 3.00 s",
        "  at 2025-11-26 21:41:07 UTC, client 127.0.0.1, HTTP/1.1 over TLSv1.3, "
        "frontend *.a.test, worker 3 (here:42)",
        "  1. http://127.0.0.1:1  connection refused after 1 ms: cannot connect: refused, "
        "so it is taken for dead",
        "  2. http://127.0.0.1:2  answer timeout after 3.00 s, which is evidence against it",
        "  why: no backend answered",
    ]


def test_a_wait_for_a_connection_is_told() -> None:
    waited = replace(GOOD, queue=0.0123)
    assert list(told(story(tries=[waited])))[2] == (
        "  1. http://127.0.0.1:3  answered with status 200, waited 12 ms for a free connection, "
        "connected in 0.4 ms, head after 12 ms, end after 20 ms"
    )
    assert "waited" not in list(told(story(tries=[replace(GOOD, queue=0.0001)])))[2]


def test_a_good_end_is_told_too() -> None:
    lines = list(told(story(Kind.KEPT, tries=[REFUSED, GOOD], status=200, error="", tls="")))
    assert lines[0].endswith("  200 after 3.00 s")
    assert "HTTP/1.1, frontend" in lines[1]
    assert lines[3:] == [
        "  2. http://127.0.0.1:3  answered with status 200, connected in 0.4 ms, "
        "head after 12 ms, end after 20 ms"
    ]


@pytest.mark.parametrize(
    ("changes", "ending"),
    [
        ({"status": 499, "error": "client left"}, "the client left after 3.00 s"),
        ({"status": 200, "error": "reset"}, "200, cut after 3.00 s and 1,234 bytes"),
        (
            {"status": 101, "closed_by": "backend", "error": ""},
            "WebSocket, broken after 3.00 s, closed by the backend",
        ),
        (
            {"status": 101, "closed_by": "client", "close_code": 1001, "kind": Kind.KEPT},
            "WebSocket after 3.00 s, closed by the client with 1001",
        ),
    ],
)
def test_how_it_ended(changes: dict[str, object], ending: str) -> None:
    assert next(told(story(**changes))).endswith(f"  {ending}")


def test_a_request_that_asked_no_backend() -> None:
    lines = list(told(story(tries=[], frontend="", client="", host="", status=400)))
    assert lines[0] == "GET https://(no host)/cart?id=…  400 after 3.00 s"
    assert "client unknown" in lines[1]
    assert "no frontend" in lines[1]
    assert lines[2] == "  no backend was asked"


def test_what_a_client_sent_does_not_write_to_a_terminal() -> None:
    hostile = story(host="a\x1b[2J", target="/\x9b", error="b\nc")
    assert not [line for line in told(hostile) if not line.isprintable()]
    assert not [text for text in row(hostile) if not text.isprintable()]


def test_a_row_has_what_a_list_needs() -> None:
    assert row(story()) == [
        "2025-11-26 21:41:07 UTC", "0192ab", "502", "GET https://www.a.test/cart?id=…",
        "http://127.0.0.1:2", "no backend answered",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("target", "masked"),
    [
        (b"/", "/"),
        (b"/a?", "/a?"),
        (b"/a?x=1=2&y&z=", "/a?x=…&y&z=…"),
        (b"/\xff?t=\xff", "/\xff?t=…"),
        (b"/" + b"x" * 1000, "/" + "x" * (MAX_TARGET - 2) + "…"),
    ],
)
def test_values_of_a_query_are_not_kept(target: bytes, masked: str) -> None:
    assert masked_target(target) == masked


@pytest.mark.parametrize("module", [stories, telling])
def test_examples(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
