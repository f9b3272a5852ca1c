"""The commands that README and docs/ tell people to type."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]

PROGRAMS = {
    "curl", "docker", "export", "for", "hipache", "kubectl", "make", "openssl", "pip", "pipx",
    "python3", "redis-cli", "sudo", "uvicorn", "~/hipache/bin/hipache", "~/hipache/bin/pip",
}  # fmt: skip
COLUMNS = re.compile(r" {3,}(?=hipache )")  # a page that lists forms of a command has two in a line
COMMENT = re.compile(r" +# .*$")


class ShellLine(NamedTuple):
    """One command of a page."""

    page: str
    text: str

    @property
    def words(self) -> list[str]:
        """As a shell would part them."""
        return shlex.split(self.text)


def shell_lines() -> Iterator[ShellLine]:
    """All of them, in the order of their pages, without comments."""
    for page in PAGES:
        text = page.read_text("utf-8").replace("\\\n", " ")
        for line in re.findall(r"^ {4,}(?:\$ )?(\S.*)$", text, re.M):
            if line.split()[0] in PROGRAMS and not re.match(r"hipache: ", line):
                for command in COLUMNS.split(COMMENT.sub("", line)):
                    yield ShellLine(page.name, command.strip())
