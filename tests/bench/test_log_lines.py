"""The measurement of the access log finds what it looks for."""

from __future__ import annotations

from pathlib import Path

from bench.questions.log_lines import check

LINE = '127.0.0.1 [16/Feb/2014:00:43:10 +0000] "GET /small?%d HTTP/1.1" 200 5 0.01 1 end\n'


def test_whole_lines_of_all_requests_in_any_order_and_file(tmp_path: Path) -> None:
    (tmp_path / "access.log.1").write_text(LINE % 2 + LINE % 0)
    (tmp_path / "access.log").write_text(LINE % 1)
    assert check(tmp_path, 3) == []


def test_lost_doubled_and_torn_lines_are_found(tmp_path: Path) -> None:
    (tmp_path / "access.log").write_text(LINE % 0 + LINE % 0 + (LINE % 1)[20:] + LINE % 2)
    torn, missing = check(tmp_path, 4)
    assert torn.startswith("access.log: not a whole line: ")
    assert missing == "2 requests have no line, 1 have more than one"


def test_a_last_line_without_its_end_is_torn(tmp_path: Path) -> None:
    (tmp_path / "access.log").write_text((LINE % 0).removesuffix("\n"))
    assert check(tmp_path, 1)[0].startswith("access.log: not a whole line: ")
