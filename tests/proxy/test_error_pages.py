"""What a client sees of an error: which type, which page, which words."""

import html
import json
import logging
from pathlib import Path

import pytest

from app import errors
from app.errors import BadHost, FrontendNotFound, NoLiveBackend, ProxyError, UpstreamError
from app.proxy import error_pages as pages
from app.proxy.error_pages import ErrorPages, templates_directory

ID = "01JD7Z3W5QK8M4N6P9R2T0V1XY"


EVERY_ERROR = [
    error
    for error in vars(errors).values()
    if isinstance(error, type)
    and issubclass(error, ProxyError)
    and error is not errors.PassedOn  # it has a page of somebody else's
]

ARGUMENTS = {
    errors.AccessUnreadable: ("allow: 'x' is no network",),
    errors.TooManyRequests: (1.5,),
    errors.Unauthorized: ("the site",),
    errors.UnderMaintenance: ("this site is under maintenance", 300),
}


def body(made: ErrorPages, error: ProxyError, accept: str = "", request_id: str = ID) -> str:
    return made.render(error, accept=accept.encode(), request_id=request_id)[1].decode()


def header(made: ErrorPages, error: ProxyError, name: bytes) -> str | None:
    fields = dict(made.render(error)[0])
    return fields[name].decode() if name in fields else None


def write(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        (directory / f"{name.lstrip('_')}.html").write_text(text)
    return directory


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: error.__name__)
def test_every_error_has_a_small_page_without_outside_parts(error: type[ProxyError]) -> None:
    page = body(ErrorPages(), error(*ARGUMENTS.get(error, ())))
    assert len(page) < 6_000
    assert ID in page
    assert error.message in html.unescape(page)
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    for outside in ("http:", "https:", "src=", "href=", "url(", "@import", "{{", "\1"):
        assert outside not in page


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (FrontendNotFound, BadHost),
        (NoLiveBackend, errors.UpstreamReset),
        (errors.StoreUnavailable, errors.UpstreamBusy),
        (errors.UpstreamTimeout, errors.UpstreamConnectTimeout),
        (errors.UpstreamReset, errors.UpstreamUnreachable),
        (NoLiveBackend, errors.UpstreamUnreachable),
    ],
)
def test_kinds_of_one_status_have_words_of_their_own(
    one: type[ProxyError], other: type[ProxyError]
) -> None:
    assert one.status == other.status
    words = body(ErrorPages(), one("x")).partition("<h1>")[2]
    assert words.partition("<dl>")[0] not in body(ErrorPages(), other("x"))


UNSENT = [
    error for error in EVERY_ERROR if issubclass(error, UpstreamError) and not error.request_sent
]


@pytest.mark.parametrize("error", UNSENT, ids=lambda error: error.__name__)
def test_a_request_that_was_never_sent_has_not_arrived(error: type[ProxyError]) -> None:
    page = body(ErrorPages(), error("x"), "text/html")
    assert "may have arrived" not in page
    assert "passed on to the site" not in page


@pytest.mark.parametrize("error", [errors.Forbidden(), errors.TooManyRequests(1.0)])
def test_a_client_that_is_turned_away_is_told_why(error: ProxyError) -> None:
    page = body(ErrorPages(), error, "text/html")
    assert "cannot be accepted" not in page
    assert "network address" in page


@pytest.mark.parametrize("accept", ["text/html", "application/json", "*/*"])
def test_a_host_without_a_site_is_named(accept: str) -> None:
    _, content = ErrorPages().render(
        FrontendNotFound(), accept=accept.encode(), host="nobody.test<script>:80"
    )
    text = html.unescape(content.decode())
    assert "frontend not found: nobody.test<script>:80" in text
    assert (b"<script" in content) is (accept != "text/html")


@pytest.mark.parametrize("accept", [b"text/html", b"application/json", b"text/plain"])
def test_the_fields_fit_the_body_and_forbid_storing_it(accept: bytes) -> None:
    fields, content = ErrorPages().render(errors.UpstreamBusy("für später"), accept=accept)
    assert dict(fields)[b"content-type"].startswith(accept)
    assert dict(fields)[b"content-length"] == b"%d" % len(content)
    assert dict(fields)[b"cache-control"] == b"no-store"


def test_retry_after_is_said_only_where_waiting_helps() -> None:
    assert header(ErrorPages(), errors.StoreUnavailable(), b"retry-after") == "5"
    assert header(ErrorPages(), NoLiveBackend(), b"retry-after") is None


def test_json_tells_a_program_what_the_page_tells_a_person() -> None:
    assert json.loads(body(ErrorPages(), NoLiveBackend(), "application/json")) == {
        "status": 502,
        "title": "Bad Gateway",
        "detail": "Cannot find a valid backend",
        "request_id": ID,
    }


def test_plain_text_is_three_lines() -> None:
    text = body(ErrorPages(), FrontendNotFound(), "text/plain")
    assert text == f"400 Bad Request\nfrontend not found\nrequest id: {ID}\n"


@pytest.mark.parametrize("hostile", ["<script>\"'&", "a\r\nb\0c", "{{ 7*7 }}", "\1message\1", "%s"])
def test_hostile_bytes_in_message_and_id_stay_text(hostile: str) -> None:
    page = body(ErrorPages(), BadHost(hostile), "text/html", request_id=hostile)
    assert "<script" not in page
    assert "49" not in page.partition("<body>")[2]
    assert not any(c < " " for c in page.replace("\n", ""))
    lines = body(ErrorPages(), BadHost(hostile), "text/plain", request_id=hostile)
    assert lines.count("\n") == 3


@pytest.mark.parametrize("accept", ["text/html", "text/plain", "application/json"])
def test_a_message_and_an_id_are_bounded_and_encodable(accept: str) -> None:
    content = body(ErrorPages(), BadHost("\udcff" * 9_999), accept, request_id="x" * 9_999)
    assert len(content) < 7_000


@pytest.mark.parametrize("accept", ["text/html", "text/plain", "application/json"])
def test_what_lies_behind_the_proxy_is_not_shown(accept: str) -> None:
    shown = body(ErrorPages(), UpstreamError("cannot connect to 10.1.2.3:8080"), accept)
    assert "10.1.2.3" not in shown
    assert "the backend failed" in shown


def test_pages_are_replaced_one_by_one(tmp_path: Path) -> None:
    custom = ErrorPages([write(tmp_path, _502="<p>{{ status }} {{ message }} {{ request_id }}")])
    assert body(custom, NoLiveBackend()) == f"<p>502 Cannot find a valid backend {ID}"
    assert body(custom, FrontendNotFound()) == body(ErrorPages(), FrontendNotFound())


def test_a_default_page_of_ones_own_comes_before_the_built_in_pages(tmp_path: Path) -> None:
    custom = ErrorPages([write(tmp_path, default="mine {{ status }}", _502="mine too")])
    assert body(custom, NoLiveBackend()) == "mine too"
    assert body(custom, FrontendNotFound()) == "mine 400"


def test_the_first_directory_comes_first(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    custom = ErrorPages([write(first, _400="first"), write(second, _400="second", _502="second")])
    assert body(custom, FrontendNotFound()) == "first"
    assert body(custom, NoLiveBackend()) == "second"


def test_a_page_under_hipaches_name_is_served_as_it_is(tmp_path: Path) -> None:
    css = "@media print{#nav{display:none}} {{ not a template }}"
    custom = ErrorPages([write(tmp_path, error_502=css, error_default="old")])
    assert body(custom, NoLiveBackend()) == css
    assert body(custom, FrontendNotFound()) == "old"


def test_the_charset_of_an_old_page_is_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "error_502.html").write_bytes("für".encode("latin-1"))
    assert header(ErrorPages([tmp_path]), NoLiveBackend(), b"content-type") == "text/html"
    assert header(ErrorPages(), NoLiveBackend(), b"content-type") == "text/html; charset=utf-8"


def test_a_page_of_ones_own_may_extend_the_built_in_frame(tmp_path: Path) -> None:
    text = (
        '{% extends "base.html" %}{% set broken, fault = "site", "away" %}{% block happened %}Hm.'
    )
    page = body(ErrorPages([write(tmp_path, _502=text + "{% endblock %}")]), NoLiveBackend())
    assert "Hm." in page
    assert "<ol>" in page


@pytest.mark.parametrize(
    ("template", "line", "reason"),
    [
        ("one\n{% if %}", 2, "Expected an expression"),
        ("one\ntwo\n{{ requst_id }}", 3, "'requst_id' is undefined"),
        ("{{ 1 // 0 }}", 1, "ZeroDivisionError"),
        ("\n{{ request_id|upper }}", 2, "request_id can only be printed"),
        ("\n{% if message == 'x' %}{% endif %}", 2, "message can only be printed"),
        ('{% extends "502.html" %}', 1, "RecursionError"),
        ('{% include "gone.html" %}', 1, "gone.html"),
    ],
)
def test_a_broken_page_is_named_once_and_the_built_in_one_serves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, template: str, line: int, reason: str
) -> None:
    custom = ErrorPages([write(tmp_path, _502=template)])
    assert body(custom, NoLiveBackend()) == body(ErrorPages(), NoLiveBackend())
    assert body(custom, UpstreamError()) == body(ErrorPages(), UpstreamError())
    [record] = caplog.records
    message = record.getMessage()
    assert f"file={tmp_path / '502.html'} line={line} " in message
    assert reason in message
    assert "\n" not in message


def test_a_page_that_is_not_text_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "502.html").write_bytes(b"\xff\xfe")
    assert body(ErrorPages([tmp_path]), NoLiveBackend()) == body(ErrorPages(), NoLiveBackend())
    assert "UnicodeDecodeError" in caplog.text


def test_a_page_that_breaks_on_one_kind_of_error_only_falls_back_then(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "{% if error == 'NoLiveBackend' %}{{ typo }}{% endif %}mine"
    custom = ErrorPages([write(tmp_path, _502=text)], logger=logging.getLogger("pages"))
    assert caplog.text == ""
    assert body(custom, NoLiveBackend()) == body(ErrorPages(), NoLiveBackend())
    assert "'typo' is undefined" in caplog.text


def test_a_page_that_may_not_be_read_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "502.html").symlink_to("502.html")  # holds for root, too
    (tmp_path / "error_502.html").mkdir()
    assert body(ErrorPages([tmp_path]), NoLiveBackend()) == body(ErrorPages(), NoLiveBackend())


def test_without_any_readable_page_a_bare_one_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "templates_directory", lambda: tmp_path)
    page = body(ErrorPages(), BadHost("<x>"))
    assert page == f"<!doctype html><h1>400 Bad Request</h1><p>&lt;x&gt;<p>Request id {ID}"


def test_a_missing_directory_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ErrorPages([tmp_path / "gone"])
    assert f"directory={tmp_path / 'gone'}" in caplog.text


def test_a_template_is_rendered_once_for_each_kind(tmp_path: Path) -> None:
    custom = ErrorPages([write(tmp_path, _502="before {{ request_id }}")])
    assert body(custom, NoLiveBackend()) == f"before {ID}"
    write(tmp_path, _502="after")
    assert body(custom, NoLiveBackend(), request_id="another") == "before another"


def test_the_built_in_pages_are_the_promised_ones() -> None:
    names = {path.name for path in (templates_directory() / "errors").glob("*.html")}
    assert names >= {"400.html", "502.html", "503.html", "504.html", "default.html"}
