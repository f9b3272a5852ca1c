"""`hipache init`: a configuration to begin with, which explains itself."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..config.file import DEFAULT_NAME
from ..errors import ConfigError
from ..stores import driver_for
from .failing import one_line

TEMPLATE = """\
// Hipache's configuration: JSON, with comments from // to the end of a line.
// `hipache check` says whether it is good. All keys: docs/configuration.md.
// Times are seconds. SIGHUP to the service takes a change over without losing a request.
{
    // Where routes live: redis://HOST:6379/0, embedded: or file:routes.toml.
    "driver": %s,

    "http": {
        // "bind": "0.0.0.0",
        "bind": "127.0.0.1",
        "port": 8080
    },

    // For TLS. The certificate is used anew when its file changes.
    // "https": {"bind": ["0.0.0.0"], "port": 443, "cert": "cert.pem", "key": "key.pem"},

    "server": {
        // One worker process per core.
        "workers": 0,

        // A path, "stdout", "syslog" or null.
        "accessLog": "stdout",

        // Proxies in front of this one, whose X-Forwarded-* are believed.
        // "trustedProxies": ["10.0.0.0/8"],

        // Until a backend has accepted a connection; until one without traffic is cut.
        "connectTimeout": 3,
        "tcpTimeout": 30,

        // How long a backend that failed is left out.
        "deadBackendTTL": 30
    },

    // Metrics for Prometheus, at /metrics of 127.0.0.1:8001 unless you say otherwise.
    // "admin": {"bind": "127.0.0.1:9187"},

    // The user that a proxy started as root becomes. Null: it stays what it is.
    "user": null
}
"""


@click.command()
@click.option(
    "-c", "--config", "path", metavar="PATH", type=click.Path(path_type=Path),
    default=Path(DEFAULT_NAME), help="The file to write; default: config.json in this folder.",
)  # fmt: skip
@click.option("--driver", default="redis:", show_default=True, help="Where routes live.")
def init(path: Path, driver: str) -> None:
    """Write a configuration with comments, to begin with. It overwrites nothing."""
    with one_line():
        try:
            driver_for([driver])
        except ValueError as exc:
            raise ConfigError(f"--driver: {exc}") from None
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(TEMPLATE % json.dumps(driver))
        except FileExistsError:
            raise ConfigError(f"{path}: is there already; it was not changed") from None
        except OSError as exc:
            raise ConfigError(f"{path}: cannot be written: {exc.strerror}") from None
    click.echo(f"{path} is written. Next: hipache check, hipache serve")
