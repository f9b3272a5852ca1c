"""Pages of the site that are no files in docs/: those of other folders, and of the code.

mkdocs calls these functions. A link of a page that leads out of docs/ is led to the same file
in the site, so that it works there and in a checkout.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.nav import Navigation
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from names import names  # noqa: E402

from app.cli import main  # noqa: E402

PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "bench/README.md": "measurements.md",
    "bench/compare/results/results.md": "results.md",
    "tests/conformance/README.md": "conformance.md",
}
"""The file of the checkout, and its place in the site."""
SOURCES = {site: source for source, site in PAGES.items()}
ELSEWHERE = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=.?https?:[^>]+")
LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add all that pages in docs/ link to, and the pages that are made of the code."""
    from mkdocs.structure.files import File  # only the build has it

    for source, site in PAGES.items():
        files.append(File.generated(config, site, content=(ROOT / source).read_text("utf-8")))
    files.append(File.generated(config, "commands.md", content=commands()))
    files.append(File.generated(config, "names.md", content=names()))
    linked = {
        target
        for page in files.documentation_pages()
        for _, link in LINK.findall(page.content_string)
        if (target := _in_checkout(page.src_uri, link)).is_file()
    }
    for target in sorted(linked):
        site = _in_site(target)
        if files.get_file_from_path(site) is None:
            files.append(File.generated(config, site, content=target.read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the page's links to the site's places."""
    here = PurePosixPath(page.file.src_uri).parent

    def led(found: re.Match[str]) -> str:
        target = _in_checkout(page.file.src_uri, found[2])
        known = target.is_file()
        return found[1] + (os.path.relpath(_in_site(target), here) if known else found[2])

    return LINK.sub(led, markdown)


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> Navigation:
    """Refuse a page outside the navigation: nobody would find it. Raises PluginError."""
    from mkdocs.exceptions import PluginError

    found = {page.file.src_uri for page in nav.pages}
    if lost := {file.src_uri for file in files.documentation_pages()} - found:
        raise PluginError(f"not in the navigation of mkdocs.yml: {', '.join(sorted(lost))}")
    return nav


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that would load something from another host. Raises PluginError."""
    from mkdocs.exceptions import PluginError

    if found := ELSEWHERE.search(output):
        raise PluginError(f"{page.file.src_uri} loads from elsewhere: {found[0]}")
    return output


def _in_checkout(page: str, link: str) -> Path:
    source = SOURCES.get(page, f"docs/{page}")
    return (ROOT / source).parent.joinpath(link).resolve()


def _in_site(target: Path) -> str:
    """A file outside docs/ that is no page is shown as text."""
    source = target.relative_to(ROOT).as_posix()
    if source.startswith("docs/"):
        return source.removeprefix("docs/")
    return PAGES.get(source, f"files/{source}.txt")


COMMANDS = """\
# Commands

`hipache COMMAND --help` says the same in a terminal, `hipache man` as a man page. The exit status
is 0 where all is well, 1 for a problem, 2 for a wrong command line, and 78 for a configuration
that cannot be used.

Commands that print facts have `--json`. A time is written `30`, `30s`, `10m`, `2h` or `7d`; a
number alone means seconds.
"""


def commands() -> str:
    """The page of all commands and options, made of their help."""
    root = click.Context(main, info_name="hipache", **main.context_settings)
    return "\n".join([COMMANDS, *_command(root, "hipache", 2)])


def _command(ctx: click.Context, name: str, level: int) -> Iterator[str]:
    command = ctx.command
    yield f"{'#' * level} {name}\n"
    yield f"    {name} {' '.join(command.collect_usage_pieces(ctx))}\n"
    for paragraph in (command.help or "").replace("\b", "").split("\n\n"):
        yield f"{_plain(' '.join(paragraph.split()))}\n"
    rows = [
        row
        for each in command.get_params(ctx)
        if each.name != "help" and (row := each.get_help_record(ctx))
    ]
    if rows:
        yield "| option | |\n|---|---|"
        yield from (f"| {_code(option)} | {_plain(text)} |" for option, text in rows)
        yield ""
    for each, below in sorted(getattr(command, "commands", {}).items()):
        if not below.hidden:
            yield from _command(
                click.Context(below, parent=ctx), f"{name} {each}", min(level + 1, 3)
            )


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _plain(text: str) -> str:
    """Help is text for a terminal: nothing in it but backquotes is markup."""
    return re.sub(r"([*_|<>\[\]])(?=[^`]*(?:`[^`]*`[^`]*)*$)", r"\\\1", text)
