"""addresses.py CHECKOUT URL [REF]: makes the links of CHECKOUT's README lead to URL.

A package index shows README alone, where a link to docs/start.md leads nowhere. URL is where
people see the repository, REF what they see of it: a tag, or HEAD. `make dist URL=...` calls
this for a copy of the checkout.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)]+)\)")


def with_addresses(readme: str, url: str, ref: str) -> str:
    """`readme` with links that work anywhere.

    >>> with_addresses("[a](docs/a.md#b) ![p](p.svg)", "https://git.test/us", "v1")
    '[a](https://git.test/us/blob/v1/docs/a.md#b) ![p](https://git.test/us/raw/v1/p.svg)'
    """

    def absolute(link: re.Match[str]) -> str:
        picture, text, path = link.groups()
        kind = "raw" if picture else "blob"
        return f"{picture}[{text}]({url}/{kind}/{ref}/{path})"

    return LINK.sub(absolute, readme)


def urls(url: str, ref: str) -> str:
    """The table `[project.urls]` of pyproject.toml."""
    shown = f"{url}/blob/{ref}"
    return (
        f'[project.urls]\nSource = "{url}"\nDocumentation = "{shown}/docs/index.md"\n'
        f'Changelog = "{shown}/CHANGELOG.md"\n\n'
    )


def main(checkout: str, url: str, ref: str = "HEAD") -> None:
    """Edit README.md and pyproject.toml in place."""
    url = url.rstrip("/")
    if not re.fullmatch(r"https?://[^\s\"]+", url):
        sys.exit(f"URL={url}: expected the address of the repository, as https://…")
    readme, project = Path(checkout, "README.md"), Path(checkout, "pyproject.toml")
    readme.write_text(with_addresses(readme.read_text("utf-8"), url, ref), "utf-8")
    head, table, rest = project.read_text("utf-8").partition("[project.scripts]\n")
    project.write_text(head + urls(url, ref) + table + rest, "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
