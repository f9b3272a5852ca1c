"""What the documents promise and no other test would notice."""

import ast
import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from app import errors
from app.errors import NoLiveBackend, ProxyError
from app.proxy.error_pages import ErrorPages
from tests import prose
from tests.prose import PAGES

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
    assert len(rows) == 21
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


MEASURED_AS = {"Caddy 2.6": "caddy-debian", "Caddy 2.11": "caddy"}


def test_the_readmes_figures_were_measured() -> None:
    """Within what two runs differ by: a new run need not change the page."""
    results = (ROOT / "bench/compare/results/readme/results.md").read_text("utf-8")
    readme = (ROOT / "README.md").read_text("utf-8")
    table = readme.partition("\n| | nginx |")[2].partition("\n\n")[0]
    columns = re.findall(r"[\w-][^|]*[\w-]", table.splitlines()[0])
    proxies = ["nginx", *(MEASURED_AS.get(column, column.lower()) for column in columns)]
    rows = re.findall(r"^\| (\D.+?) \| (\d.+) \|$", table, re.M)
    assert (len(rows), len(proxies)) == (5, 6)
    for title, figures in rows:
        measured = results.partition(f"## {title}\n")[2].partition("\n## ")[0]
        for proxy, figure in zip(proxies, figures.split(" | "), strict=True):
            [cost] = re.findall(rf"^\| {proxy} \| ([\d.,]+)", measured, re.M)
            ratio = float(figure.replace(",", "")) / float(cost.replace(",", ""))
            assert 2 / 3 < ratio < 3 / 2, (title, proxy)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def test_the_prose_is_plain() -> None:
    assert [*prose.faults()] == []


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


def test_the_pictures_of_the_house_have_every_part_of_it() -> None:
    """Each folder of app/, and each module that stands beside them."""
    app = ROOT / "app"
    folders = {path.parent.relative_to(app).as_posix() for path in app.rglob("*.py")} - {"."}
    modules = {path.stem for path in app.glob("*.py")} - {"__init__"}
    page = (ROOT / "docs/design.md").read_text("utf-8")
    picture = page.partition("    app/\n")[2].partition("    templates/")[0]
    drawn, above = set(), ""
    for indent, names in re.findall(r"^( +)(\S+(?: \S+)*)", picture, re.M):
        parts = [(above if len(indent) > 6 else "") + name.rstrip("/") for name in names.split()]
        above = f"{parts[0]}/" if len(indent) == 6 else above
        drawn.update(parts)
    assert drawn == folders | modules
    table = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("## Where things are")[2]
    named = set(re.findall(r"`(\w+)(?:/|\.py)`", table.partition("Beside it")[0]))
    assert named >= {folder.rpartition("/")[2] for folder in folders} | modules


def test_where_things_go_are_places_that_exist() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("## Where do I")[2]
    assert len(re.findall(r"^\| [a-z]", page, re.M)) >= 10
    for path in re.findall(r"`((?:app|tests|templates|docs)/[^`]*)`", page):
        assert (ROOT / path).exists(), path


def test_every_fact_about_hipache_that_is_cited_stands_on_its_page() -> None:
    page = (ROOT / "docs/hipache.md").read_text("utf-8")
    sections = set(re.findall(r"^## (1\.\d+) ", page, re.M))
    points = set(re.findall(r"^\| (\d+) \|", page, re.M))
    cited = 0
    for path in [*ROOT.glob("app/**/*.py"), *ROOT.glob("tests/**/*.py")]:
        text = re.sub(r"[\s#]+", " ", path.read_text("utf-8"))
        for place in re.findall(r"hipache\.md ([\d., points]+(?:and \d+)?)", text):
            cited += 1
            assert (found := re.findall(r"1\.\d+", place)), (path, place)
            assert set(found) <= sections, (path, place)
            numbers = set(re.findall(r"\d+", re.sub(r"1\.\d+", "", place)))
            assert numbers <= points, (path, place)
            assert bool(numbers) == ("1.10" in found), (path, place)
    assert cited > 10


def test_every_interpreter_that_is_promised_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    workflow = (ROOT / ".github/workflows/ci.yml").read_text("utf-8")
    [matrix] = re.findall(r"python: \[(.*)\]", workflow)
    assert re.findall(r"[\d.]+", matrix) == promised
    assert "run: .ci/run" in workflow
    assert project["requires-python"] == f">={promised[0]}"


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


def test_what_security_names_is_there() -> None:
    page = (ROOT / "SECURITY.md").read_text("utf-8")
    named = re.findall(r"`((?:app|tests|bench)/[^`]+)`", page)
    assert len(named) > 40
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_the_picture_of_the_readme_is_drawn_for_light_and_dark() -> None:
    picture = (ROOT / "docs/fleet.svg").read_text("utf-8")
    assert ElementTree.fromstring(picture).tag.endswith("}svg")
    assert "prefers-color-scheme: dark" in picture
    assert "](docs/fleet.svg)" in (ROOT / "README.md").read_text("utf-8")
