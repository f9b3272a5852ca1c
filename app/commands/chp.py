"""`hipache chp`: the command line of configurable-http-proxy."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import click

from ..chp.chp_options import ChpOptions, Secured, addresses, custom_fields, moved
from ..chp.hub_observer import Rewriting
from ..chp.hub_server import run
from ..errors import ConfigError
from ..server.listeners import ListenAddress
from ..system.release import version
from .failing import one_line

PORT = 8000
REFUSED = {
    "ssl_protocol": "TLS 1.2 and 1.3 are offered, and clients take the newest they know",
    "ssl_dhparam": "OpenSSL has groups of its own; no file is needed",
    "ssl_allow_rc4": "RC4 is broken, and no TLS may use it any more (RFC 7465)",
}
"""Flags that cannot be honoured, and why."""

Flags = dict[str, Any]
Millis = click.FloatRange(min=0)


def tls_flags(prefix: str, whose: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The flags for the files of one side's TLS."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for name, told in (
            ("key", f"Private key (PEM) {whose}."),
            ("cert", f"Certificate (PEM) {whose}."),
            ("ca", f"Certificate authorities (PEM) {whose}."),
        ):
            command = click.option(f"--{prefix}-{name}", metavar="FILE", help=told)(command)
        for name, told in (
            ("request-cert", f"Ask for certificates {whose}."),
            ("reject-unauthorized", "Refuse those who show none. Goes with the flag before."),
        ):
            command = click.option(f"--{prefix}-{name}", is_flag=True, help=told)(command)
        return command

    return add


@click.command()
@click.option("--ip", help="Address to serve at; without it all.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to serve at.  [8000]")
@click.option("--socket", help="Path of a unix socket to serve at, in place of both.")
@tls_flags("ssl", "for clients")
@click.option("--ssl-protocol", hidden=True)
@click.option("--ssl-ciphers", help="OpenSSL's list for TLS 1.2.")
@click.option("--ssl-allow-rc4", is_flag=True, hidden=True)
@click.option("--ssl-dhparam", hidden=True)
@click.option("--api-ip", help="Address of the API.  [localhost]")
@click.option("--api-port", type=click.IntRange(0, 65535), help="Its port.  [--port and 1]")
@click.option("--api-socket", help="Path of a unix socket for the API, in place of both.")
@tls_flags("api-ssl", "for the API")
@tls_flags("client-ssl", "towards targets")
@click.option("--default-target", metavar="URL", help="Takes what no route takes.")
@click.option("--error-target", metavar="URL", help="Is asked for error pages: URL/404?url=...")
@click.option("--error-path", metavar="FOLDER", help="Has error pages: 404.html, error.html.")
@click.option("--redirect-port", type=int, help="Port whose requests are sent to https.")
@click.option("--redirect-to", type=int, help="Port that they are sent to.  [--port]")
@click.option("--pid-file", metavar="FILE", help="Gets the id of this process.")
@click.option("--no-x-forward", is_flag=True, help="Add no X-Forwarded-*.")
@click.option("--no-prepend-path", is_flag=True, help="Leave the path in a target's URL out.")
@click.option("--no-include-prefix", is_flag=True, help="Take a route's path off for targets.")
@click.option("--auto-rewrite", is_flag=True, help="Put our host into redirects of targets.")
@click.option("--change-origin", is_flag=True, help="Let Host be the target's.")
@click.option("--protocol-rewrite", metavar="SCHEME", help="Put this into redirects of targets.")
@click.option("--custom-header", multiple=True, metavar="NAME:VALUE", help="Add it for targets.")
@click.option("--insecure", is_flag=True, help="Believe any certificate of a target.")
@click.option("--host-routing", is_flag=True, help="The first segment of a route is a host.")
@click.option("--metrics-ip", default="", help="Address of the metrics; without it all.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Their port; else none.")
@click.option("--metrics-socket", help="Path of a unix socket for them, in place of both.")
@click.option(
    "--log-level", default="info",
    type=click.Choice(["debug", "info", "warn", "error"], case_sensitive=False),
)  # fmt: skip
@click.option("--timeout", type=Millis, help="Milliseconds in which nothing moves.")
@click.option("--proxy-timeout", type=Millis, help="The same, for a target.")
@click.option("--keep-alive-timeout", type=Millis, help="Milliseconds between two requests.")
@click.option(
    "--storage-backend", metavar="URL", envvar="CONFIGPROXY_STORAGE_BACKEND",
    help="Store that keeps the routes, for several proxies: redis://..., embedded:DIR, file:DIR.",
)  # fmt: skip
@click.version_option(version(), "-V", "--version", message="%(version)s")
def chp(**flags: Any) -> None:
    """Proxy for a JupyterHub, in the place of configurable-http-proxy.

    The flags are the same. $CONFIGPROXY_AUTH_TOKEN is what the API asks for.
    """
    with one_line():
        sys.exit(run(options_of(flags, os.environ)))


def options_of(flags: Flags, environ: os._Environ[str] | dict[str, str]) -> ChpOptions:
    """What the flags and the environment say. Raises ConfigError."""
    for name, why in REFUSED.items():
        if flags[name]:
            raise ConfigError(f"--{name.replace('_', '-')} cannot be honoured: {why}")
    public = _where(flags, "", PORT if flags["port"] is None else flags["port"])
    port = 443 if public[0].is_unix else public[0].port
    after = port and port + 1
    api_port = flags["api_port"] if flags["api_port"] is not None else after
    flags = {**flags, "api_ip": flags["api_ip"] or "localhost"}
    redirects = flags["redirect_port"]
    return ChpOptions(
        public=public,
        api=_where(flags, "api_", 8001 if public[0].is_unix and api_port == after else api_port),
        metrics=_metrics(flags),
        redirects=moved(addresses(None, 0), redirects) if redirects else (),
        redirect_to=flags["redirect_to"] or port,
        tls=_secured(flags, "ssl", environ.get("CONFIGPROXY_SSL_KEY_PASSPHRASE")),
        api_tls=_secured(flags, "api_ssl", environ.get("CONFIGPROXY_API_SSL_KEY_PASSPHRASE")),
        client_tls=_secured(flags, "client_ssl", None),
        token=environ.get("CONFIGPROXY_AUTH_TOKEN"),
        rewriting=_rewriting(flags),
        timeout=(flags["timeout"] or 0) / 1000,
        proxy_timeout=(flags["proxy_timeout"] or 0) / 1000,
        storage=flags["storage_backend"] or None,
        keep_alive_timeout=(flags["keep_alive_timeout"] or 0) / 1000 or None,
        **{name: flags[name] for name in (
            "insecure", "default_target", "error_target", "error_path", "host_routing",
            "pid_file", "log_level",
        )},
    )  # fmt: skip


def _where(flags: Flags, prefix: str, port: int) -> tuple[ListenAddress, ...]:
    path, ip = flags[f"{prefix}socket"], flags[f"{prefix}ip"]
    if path is None:
        return addresses(ip, port)
    if flags[f"{prefix}port"] is not None:
        raise ConfigError(
            f"--{prefix}socket and --{prefix}port do not go together".replace("_", "-")
        )
    return (ListenAddress(os.path.abspath(path)),)


def _metrics(flags: Flags) -> tuple[ListenAddress, ...]:
    if flags["metrics_port"] is None and flags["metrics_socket"] is None:
        return ()
    return _where(flags, "metrics_", flags["metrics_port"] or 0)


def _secured(flags: Flags, prefix: str, passphrase: str | None) -> Secured:
    names = ("key", "cert", "ca", "request_cert", "reject_unauthorized")
    found = {name: flags[f"{prefix}_{name}"] for name in names}
    return Secured(**found, passphrase=passphrase, ciphers=flags["ssl_ciphers"])


def _rewriting(flags: Flags) -> Rewriting:
    return Rewriting(
        include_prefix=not flags["no_include_prefix"],
        prepend_path=not flags["no_prepend_path"],
        forward=not flags["no_x_forward"],
        change_origin=flags["change_origin"],
        fields=tuple(custom_fields(flags["custom_header"]).items()),
        auto_rewrite=flags["auto_rewrite"],
        protocol=flags["protocol_rewrite"],
    )
