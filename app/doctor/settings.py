"""What is wrong with the configuration. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ..config.structs import Config
from ..errors import ConfigError
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
