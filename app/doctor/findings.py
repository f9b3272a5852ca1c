"""A problem that the doctor has found, and its forms as text and JSON. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from ..frontends.site import host_of
from ..masking import printable

SHOWN_ALIKE = 20
"""Findings of one name that the text form prints; `--json` has all."""

KINDS = (
    "frontend:", "paths:", "options:", "dead:", "dead-info:", "healthcheck:", "tls:", "broken:",
)  # fmt: skip
"""The kinds of keys in the store: each key begins with one of them, after the prefix."""


class Severity(StrEnum):
    """How bad a finding is. The exit statuses are those of monitoring plugins: 0, 1 and 2."""

    NOTE = "note"
    """It does no harm."""
    WARNING = "warning"
    """Something is lost, or will be lost."""
    ERROR = "error"
    """Requests fail because of it, or the service does not start."""

    @property
    def status(self) -> int:
        return (Severity.NOTE, Severity.WARNING, Severity.ERROR).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem, described for an operator who has never read this code."""

    severity: Severity
    name: str
    """One word for scripts, the same in every version."""
    subject: str
    """What it is about: a frontend, a file, a key of the configuration."""
    problem: str
    """What was found."""
    meaning: str
    """The effect on requests or on the service."""
    mend: str = ""
    """The command that fixes it; empty if there is only `advice`."""
    advice: str = ""
    """What to do by hand, or to consider before running the command."""


@dataclass(frozen=True, slots=True)
class Commands:
    """Writes commands as a person would type them, for the configuration that doctor reads."""

    config: str | None = None
    """The value of doctor's `--config`."""
    prefix: str = ""
    """The prefix of the store's keys."""
    tagged: bool = False
    """The host in the names of the store's keys stands in braces."""
    can_mend_keys: bool = True
    """Whether the store answers `hipache redis`."""

    def hipache(self, *words: str) -> str:
        """
        >>> Commands("my.json").hipache("dead", "clear", "*.a.org")
        "hipache dead clear '*.a.org' --config my.json"
        """
        options = ("--config", self.config) if self.config else ()
        return shlex.join(("hipache", *words, *options))

    def redis(self, *words: str) -> str:
        """A command for the store itself; empty if the store takes none.

        >>> Commands(prefix="p:").redis("del", "frontend:a.org")
        'hipache redis del p:frontend:a.org'
        >>> Commands(tagged=True).redis("del", "frontend:a.org/api")
        "hipache redis del 'frontend:{a.org}/api'"
        """
        if not self.can_mend_keys:
            return ""
        options = ("--config", self.config) if self.config else ()
        command, *arguments = words
        named = (self._named(a) if a.startswith(KINDS) else a for a in arguments)
        return shlex.join(("hipache", "redis", *options, command, *named))

    def _named(self, key: str) -> str:
        kind, _, rest = key.partition(":")
        if self.tagged and kind != "tls":
            host = host_of(rest)
            key = f"{kind}:{{{host}}}{rest[len(host) :]}"
        return f"{self.prefix}{key}"


def worst(findings: Iterable[Finding]) -> int:
    """The exit status: 0, 1 for warnings, 2 for errors."""
    return max((finding.severity.status for finding in findings), default=0)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first, those of one name together."""
    return sorted(findings, key=lambda found: (-found.severity.status, found.name, found.subject))


def as_json(findings: Sequence[Finding], looked_at: Sequence[str]) -> str:
    """The findings as JSON, for scripts."""
    return json.dumps(
        {
            "status": worst(findings),
            "looked_at": list(looked_at),
            "findings": [asdict(finding) for finding in findings],
        },
        indent=2,
    )


def as_text(findings: Sequence[Finding], looked_at: Sequence[str]) -> Iterator[str]:
    """The findings as lines of text, for people."""
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.name] = counts.get(finding.name, 0) + 1
        if counts[finding.name] <= SHOWN_ALIKE:
            yield from _paragraph(finding)
    for name, count in counts.items():
        if count > SHOWN_ALIKE:
            yield f"and {count - SHOWN_ALIKE} more of {name}; --json has all"
            yield ""
    yield f"looked at: {', '.join(looked_at)}"
    yield _summary(findings)


def _paragraph(finding: Finding) -> Iterator[str]:
    yield _line(f"{finding.severity}: {finding.subject}: {finding.problem}")
    yield _line(f"    {finding.meaning}")
    if finding.advice:
        yield _line(f"    {finding.advice}")
    if finding.mend:
        yield _line(f"    $ {finding.mend}")
    yield ""


def _line(text: str) -> str:
    """Escape control characters: text from the store must not control the terminal."""
    return printable(text)


def _summary(findings: Sequence[Finding]) -> str:
    counts = [
        (severity, sum(finding.severity is severity for finding in findings))
        for severity in reversed(Severity)
    ]
    parts = [f"{count} {severity}{'s' * (count > 1)}" for severity, count in counts if count]
    return ", ".join(parts) or "no problems were found"
