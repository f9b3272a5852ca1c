"""`hipache password USER`: makes the hash that the option `basicAuth` stores."""

from __future__ import annotations

import os
import sys

import click

from ..frontends.passwords import make_hash


@click.command()
@click.argument("user")
def password(user: str) -> None:
    """Ask for a password, and print USER:HASH for the option basicAuth.

    If the input is a pipe, its first line is the password.
    """
    if ":" in user or "$" in user or any(c.isspace() for c in user) or not user:
        raise click.BadParameter("a user name must not contain spaces, colons or dollar signs")
    if sys.stdin.isatty():
        text = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        text = sys.stdin.readline().rstrip("\r\n")
    if not text:
        raise click.ClickException("no password was given")
    click.echo(f"{user}:{make_hash(text.encode(), os.urandom(16))}")
