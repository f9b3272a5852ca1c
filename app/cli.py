"""The `hipache` command."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from .commands import demo as demonstration
from .commands.cert import cert
from .commands.check import check, checked_config
from .commands.chp import chp
from .commands.cli_options import config_option, group_config_option
from .commands.completion import completion
from .commands.dead import dead, revive
from .commands.debug_ticket import debug_ticket
from .commands.demo_config import written_config
from .commands.doctor import doctor
from .commands.explain import explain
from .commands.failures import failures
from .commands.help import help_, version
from .commands.init import init
from .commands.manual import manual
from .commands.password import password
from .commands.pausing import pause, resume
from .commands.redis import redis
from .commands.route import route
from .commands.status import status
from .commands.steering import drain, maintenance, option, undrain
from .commands.top import top
from .commands.undoing import log, undo
from .commands.upgrade import upgrade
from .commands.why import why
from .commands.wrong_words import COMMANDS, HipacheCommand
from .config.file import DEFAULTS, here
from .errors import EX_CONFIG, ConfigError
from .system.release import version as release
from .workers.serve import serve as serve_forever
from .workers.successor import own_program


@click.group(
    cls=HipacheCommand, instead=COMMANDS, invoke_without_command=True, no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
@group_config_option
@click.option("--dry", is_flag=True, help="Without COMMAND: only check the configuration.")
@click.version_option(
    release(), "-V", "--version", prog_name="hipache", message="%(prog)s %(version)s"
)
@click.pass_context
def main(ctx: click.Context, path: str | None, *, dry: bool) -> None:
    """A distributed HTTP and WebSocket reverse proxy whose virtual hosts live in Redis.

    Without COMMAND, -c serves as older Hipaches did.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(check if dry else serve, path=path)
    elif dry:
        raise click.UsageError(f"--dry goes with no command, found {ctx.invoked_subcommand!r}")


route.add_command(log)
route.add_command(undo)
main.add_command(route)
main.add_command(status)
main.add_command(top)


def _fail(error: ConfigError) -> NoReturn:
    click.echo(f"hipache: {error}", err=True)
    sys.exit(EX_CONFIG)


@main.command()
@config_option
def serve(path: str | None) -> None:
    """Run the proxy: one supervisor and its workers."""
    try:
        status = serve_forever(lambda: checked_config(path), os.environ, own_program())
    except ConfigError as exc:
        _fail(exc)
    sys.exit(status)


@main.command()
@config_option
def demo(path: str | None) -> None:
    """Serve with two small backends behind demo.localhost, to try things on."""
    try:
        config = checked_config(path)
        if config.source != DEFAULTS:
            sys.exit(demonstration.run(config, path))
        with written_config(here()) as written:
            sys.exit(demonstration.run(checked_config(written), written))
    except ConfigError as exc:
        _fail(exc)


main.add_command(cert)
main.add_command(check)
main.add_command(chp)
main.add_command(completion)
main.add_command(dead)
main.add_command(debug_ticket)
main.add_command(doctor)
main.add_command(drain)
main.add_command(explain)
main.add_command(failures)
main.add_command(help_)
main.add_command(init)
main.add_command(maintenance)
main.add_command(manual)
main.add_command(option)
main.add_command(password)
main.add_command(pause)
main.add_command(redis)
main.add_command(resume)
main.add_command(revive)
main.add_command(undrain)
main.add_command(upgrade)
main.add_command(version)
main.add_command(why)

if __name__ == "__main__":
    main()
