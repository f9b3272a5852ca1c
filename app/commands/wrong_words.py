"""What people type who know other programs, and what does that here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import click

from .command_group import CommandGroup

_STOP = "A service ends on SIGTERM: `systemctl stop hipache`, or Ctrl-C where it was started."
_RELOAD = "A service takes its changed configuration on SIGHUP: `systemctl reload hipache`."
_CHANGE = "Routes are changed by `hipache route`: set, add, remove, rename, import, undo."
_LIST = "`hipache route list` lists all frontends."
_LOOK = "`hipache status` shows the workers, `hipache top` what they do."
_CHECK = "`hipache check` says whether the configuration is good, and what it means."
_LOG = (
    "`hipache failures` lists requests that failed, `hipache route log` what was changed. "
    "The access log is where server.accessLog says."
)

COMMANDS = {
    **dict.fromkeys(("start", "run", "up", "daemon"), "`hipache serve` runs the proxy."),
    **dict.fromkeys(("stop", "down", "kill", "quit", "shutdown"), _STOP),
    **dict.fromkeys(("reload", "restart", "hup"), _RELOAD),
    **dict.fromkeys(
        ("add", "set", "remove", "rm", "del", "delete", "rename", "import", "export", "undo"),
        _CHANGE,
    ),
    **dict.fromkeys(("list", "ls", "routes", "hosts", "frontends", "backends"), _LIST),
    **dict.fromkeys(("ps", "stats", "monitor", "metrics", "workers", "info", "health"), _LOOK),
    **dict.fromkeys(("test", "configtest", "validate", "lint", "verify", "config"), _CHECK),
    **dict.fromkeys(("log", "logs", "errors"), _LOG),
    **dict.fromkeys(("certs", "certificate", "acme"), "`hipache cert` knows the certificates."),
    **dict.fromkeys(("passwd", "htpasswd"), "`hipache password USER` makes a hash."),
    **dict.fromkeys(("mark", "unmark"), "`hipache dead mark` and `hipache revive` do that."),
    **dict.fromkeys(("shell", "redis-cli"), "`hipache redis COMMAND` asks the store."),
    "init-config": "`hipache init` writes one.",
    "trace": "`hipache explain URL` says what the proxy would do with a request.",
}
"""Words in the place of a command."""

_WHERE = "Where to listen stands in the configuration (`http.bind`, `http.port`); $PORT wins."
_WORKERS = "Their number stands in the configuration (`server.workers`)."
_DRIVER = "The store stands in the configuration (`driver`); $REDIS_URL wins."
_FRONT = "It runs in the foreground: a service manager keeps it, docs/deploy.md."

OPTIONS = {
    **dict.fromkeys(("-p", "--port", "-b", "--bind", "--host", "--listen", "-l"), _WHERE),
    **dict.fromkeys(("-w", "--workers"), f"{_WORKERS[:-1]}; $WEB_CONCURRENCY wins."),
    **dict.fromkeys(("--driver", "--redis", "--redis-url", "--store"), _DRIVER),
    **dict.fromkeys(("-d", "-D", "--daemon", "--detach", "--background"), _FRONT),
    "-v": "-V says the version; with `server.debug` the proxy logs every request.",
    **dict.fromkeys(("--verbose", "--debug"), "With `server.debug` it logs every request."),
    **dict.fromkeys(("-t", "--test", "--check"), _CHECK),
}
"""Options that `serve` and its like do not have."""

CONFIG_FILE = re.compile(r"(?:\(|command ')(\S+\.(?:json|toml))['\)]")
"""An argument too many, or in the place of a command, as click's messages have them."""


class HipacheCommand(CommandGroup):
    """The `hipache` command: it says what was meant by what it does not know."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read what stands in front of the command. Raises UsageError."""
        with _told_better():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command. Raises UsageError."""
        with _told_better():
            return super().invoke(ctx)


@contextmanager
def _told_better() -> Iterator[None]:
    try:
        yield
    except click.UsageError as exc:
        hint = None if exc.ctx is None else _hint(exc, exc.ctx)
        if hint is None:
            raise
        raise click.UsageError(f"{exc.message.rstrip('.')}. {hint}", exc.ctx) from None


def _hint(exc: click.UsageError, ctx: click.Context) -> str | None:
    if isinstance(exc, click.NoSuchOption):
        return None if exc.possibilities else OPTIONS.get(exc.option_name)
    if (file := CONFIG_FILE.search(exc.message)) and "path" in ctx.params:
        return f"The configuration is named by -c: {ctx.command_path} -c {file[1]}"
    return None
