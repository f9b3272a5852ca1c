"""What the documents promise and no other test would notice."""

import ast
import re
from pathlib import Path

import pytest

from app import errors
from app.errors import NoLiveBackend, ProxyError
from app.proxy.pages import ErrorPages

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
    assert len(rows) == 16
    for status, names, message in rows:
        for name in re.findall(r"\w+", names):
            error: type[ProxyError] = getattr(errors, name)
            assert error.status == int(status)
            assert error.message in message or "`" not in message


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


def test_the_readmes_defaults_are_those_of_the_full_table() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    full = dict(
        re.findall(
            r"^\| `([\w.]+)` \| `(.+?)` \|", (ROOT / "docs/configuration.md").read_text(), re.M
        )
    )
    rows = re.findall(r"^\| (`[\w.]+`.*?) \| (`.+?`) \|", readme, re.M)
    assert len(rows) > 10
    for keys, defaults in rows:
        for key, default in zip(keys.split(", "), defaults.split(", "), strict=True):
            assert full[key.strip("`")] == default.strip("`")


PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bench/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def test_every_measurement_can_be_found() -> None:
    """What a page says to run exists, and bench/README.md names all that can be run."""
    for page in PAGES:
        for module in re.findall(r"python -m (bench\.[a-z_.]*[a-z])", page.read_text("utf-8")):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
    readme = (ROOT / "bench/README.md").read_text("utf-8")
    for question in ROOT.glob("bench/questions/*.py"):
        if '"__main__"' in question.read_text("utf-8"):
            assert re.search(rf"(`|bench\.questions\.){question.stem}\b", readme), question.stem


def test_the_picture_of_the_house_is_of_this_house() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    picture = readme.partition("    app/\n")[2].partition("    templates/")[0]
    names = re.findall(r"^ {6}(.+?)(?:  |$)", picture, re.M)
    parts = {part for line in names for part in line.split()} - {"..."}
    assert len(parts) > 15
    for part in parts:
        assert (ROOT / "app" / part).is_dir() or (ROOT / "app" / f"{part}.py").is_file(), part


def test_every_finding_of_doctor_is_in_its_table() -> None:
    page = (ROOT / "docs/doctor.md").read_text("utf-8")
    told = re.findall(r"`([a-z-]+)`", "".join(re.findall(r"^\| (`.*?`) \|", page, re.M)))
    names = {
        constant.value
        for module in ROOT.glob("app/doctor/*.py")
        for call in ast.walk(ast.parse(module.read_text("utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Finding"
        for constant in ast.walk(call.args[1])
        if isinstance(constant, ast.Constant) and len(constant.value) > 1
    }
    assert set(told) == names
