"""The commands that README and docs/ tell people to type."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]

PROGRAMS = {
    "apt", "apt-get", "cat", "cd", "cp", "curl", "daphne", "dnf", "docker", "echo", "export", "for",
    "git", "granian", "hipache", "hypercorn", "journalctl", "kill", "kubectl", "make", "mkdir",
    "npm", "openssl", "pip", "pipx", "pytest", "python", "python3", "redis-cli", "sudo",
    "systemctl", "uvicorn", "valkey-cli", "~/hipache/bin/hipache", "~/hipache/bin/pip",
}  # fmt: skip
"""What a line that is a command begins with."""
COLUMNS = re.compile(r" {3,}(?=hipache )")  # a page that lists forms of a command has two in a line
COMMENT = re.compile(r" +# .*$")
INLINE = re.compile(r"`(hipache [^`]+)`")
REDIS = re.compile(r"(?:HSET|RPUSH|SADD) .+")
"""Commands that a page gives as Redis reads them."""


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
            elif REDIS.fullmatch(line):
                yield ShellLine(page.name, f"redis-cli {line}")


def inline_commands() -> Iterator[ShellLine]:
    """Those of `hipache` that stand in sentences and tables; some are named without their words."""
    for page in PAGES:
        text = re.sub(r"^ {4,}.*$", "", page.read_text("utf-8"), flags=re.M)
        for command in INLINE.findall(text):
            yield ShellLine(page.name, " ".join(command.split()))
