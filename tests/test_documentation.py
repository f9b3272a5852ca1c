"""What the documents promise and no other test would notice."""

import re
from pathlib import Path

from app import errors
from app.errors import NoLiveBackend, ProxyError
from app.pages import ErrorPages

ROOT = Path(__file__).parent.parent


def test_the_example_of_an_error_page_works(tmp_path: Path) -> None:
    text = (ROOT / "docs/error-pages.md").read_text("utf-8")
    [example] = re.findall(r'^    {% extends "base.html" %}.*?endblock %}\n\n', text, re.M | re.S)
    (tmp_path / "502.html").write_text(example.replace("\n    ", "\n").strip(), "utf-8")
    page = ErrorPages([tmp_path]).render(NoLiveBackend(), request_id="01JD")[1].decode()
    assert "We are moving the furniture." in page
    assert "call us and say 01JD." in page


def test_every_error_in_the_list_exists_and_has_that_status() -> None:
    text = (ROOT / "docs/error-pages.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d{3}) \| (.+?) \| (.+?) \|$", text, re.M)
    assert len(rows) == 8
    for status, names, message in rows:
        for name in re.findall(r"\w+", names):
            error: type[ProxyError] = getattr(errors, name)
            assert error.status == int(status)
            assert error.message in message or "`" not in message


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150
