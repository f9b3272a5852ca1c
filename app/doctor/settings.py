"""What is wrong with the configuration, and what 'hipache serve' asks besides."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator

from ..config.structs import Config
from ..errors import ConfigError
from ..workers.start_checks import START_CHECKS
from .findings import Commands, Finding, Severity


def refused(error: ConfigError) -> Finding:
    """A configuration that cannot be used; nothing else can be checked then."""
    source, _, problem = str(error).partition(": ")
    return Finding(
        Severity.ERROR, "bad-configuration", source, problem,
        "'hipache serve' does not start, and a running one keeps its old configuration.",
        f"${{EDITOR:-vi}} {shlex.quote(source)}" if not source.startswith("$") else "",
        "docs/configuration.md describes every key.",
    )  # fmt: skip


def of_start(config: Config, known: Collection[Finding]) -> Iterator[Finding]:
    """What else 'hipache serve' asks before it starts, where no finding in `known` says it."""
    told = {finding.name for finding in known if finding.severity is Severity.ERROR}
    for check in START_CHECKS:
        try:
            check.ask(config)
        except ConfigError as exc:
            if not told & check.names:
                source, _, problem = str(exc).removeprefix(f"{config.source}: ").partition(": ")
                yield Finding(
                    Severity.ERROR, "start-refused", source, problem,
                    "'hipache serve' does not start.",
                    advice="docs/configuration.md describes every key.",
                )  # fmt: skip


def look(config: Config, commands: Commands) -> Iterator[Finding]:
    """Report old names, and keys without effect."""
    for warning in config.warnings:
        key, _, rest = warning.partition(" ")
        yield Finding(
            Severity.WARNING, "old-key", f"{config.source}: {key.rstrip(':')}", rest,
            "It means what an older Hipache documented; a later version may drop it.",
            commands.hipache("check", "--modernise"),
            "Rewrite the file with current names, without useless keys. The old one is kept:",
        )  # fmt: skip
