"""The listeners of a service: bound once, and equipped anew when the configuration changes."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from ..config.binds import Bind, HttpsBind
from ..config.structs import Config
from ..errors import ConfigError
from ..server.listeners import ListenAddress, ListeningSocket
from ..tls.listener import TLSListener
from .sockets import ServiceSockets

logger = logging.getLogger("hipache.serve")


def listen(
    config: Config, sockets: ServiceSockets, environ: Mapping[str, str]
) -> list[ListeningSocket]:
    """Every listener, bound, with its certificates loaded. Raises ConfigError.

    Of the sockets that systemd hands over, those named `https` (by
    `FileDescriptorName=`) speak TLS as the first of `https.bind` says, the others
    the PROXY protocol if the first of `http.bind` does.
    """
    secured = tls_listeners(config)
    if given := sockets.given(environ):
        if "https" in dict(given) and not secured:
            raise ConfigError(f"{config.source}: https.bind: expected one for systemd's socket")
        return [
            ListeningSocket(sock, secured[0]) if name == "https" else plain(sock, config, 0)
            for name, sock in given
        ]
    http = [sockets.bind(address) for address in addresses(config.http.binds)]
    https = [sockets.bind(address) for address in addresses(config.https.binds)]
    return [
        *(plain(sock, config, entry) for entry, sock in enumerate(http)),
        *(
            ListeningSocket(sock, tls, entry=entry)
            for entry, (sock, tls) in enumerate(zip(https, secured, strict=True))
        ),
    ]


def plain(sock: socket.socket, config: Config, entry: int) -> ListeningSocket:
    """HTTP without TLS, as this entry of `http.bind` has it."""
    proxied = any(bind.proxy_protocol for bind in config.http.binds[entry : entry + 1])
    return ListeningSocket(
        sock, proxied_by=config.server.trusted_proxies.value if proxied else None, entry=entry
    )


def tls_listeners(config: Config) -> list[TLSListener]:
    """What every `https.bind` serves. Raises ConfigError naming the entry."""
    made: list[TLSListener] = []
    for index, bind in enumerate(config.https.binds):
        try:
            made.append(TLSListener(bind))
        except ConfigError as exc:
            raise ConfigError(f"{config.source}: https.bind[{index}]: {exc}") from None
    return made


def equipped_again(
    config: Config, first: Config, listeners: Sequence[ListeningSocket]
) -> Sequence[ListeningSocket]:
    """The same sockets, with what is spoken there as the new configuration has it.

    Unchanged settings of TLS keep what was loaded: after root is given up, its key
    files could not be read again. Raises ConfigError.
    """
    for name, old, new in (
        ("http.bind", first.http.binds, config.http.binds),
        ("https.bind", first.https.binds, config.https.binds),
    ):
        if addresses(old) != addresses(new):
            logger.warning("%s has changed, which takes effect with the next start only", name)
    secured = {each.entry: each.tls for each in listeners if each.tls}
    if (
        len(config.https.binds) == len(first.https.binds)
        and config.https.binds != first.https.binds
    ):
        secured = dict(enumerate(tls_listeners(config)))
    for tls in secured.values():
        tls.current()  # once here, so that all workers share the keys of session tickets
    stays = addresses(config.http.binds) == addresses(first.http.binds)
    bound = config if stays else replace(config, http=first.http)
    return [
        ListeningSocket(each.sock, secured[each.entry], entry=each.entry)
        if each.tls
        else plain(each.sock, bound, each.entry)
        for each in listeners
    ]


def addresses(binds: Iterable[Bind | HttpsBind]) -> list[ListenAddress]:
    """Where to listen, in the order of the configuration."""
    return [ListenAddress(bind.address.removeprefix("unix:"), bind.port) for bind in binds]


def listen_for_admin(config: Config, sockets: ServiceSockets) -> socket.socket | None:
    """The admin listener; None, after an error in the log, if it cannot listen."""
    if config.admin.bind is None:
        return None
    try:
        sock = sockets.bind(ListenAddress(*config.admin.bind.value), "admin ")
    except ConfigError as exc:
        logger.error("no admin listener, the proxy serves without: admin.bind: %s", exc)
        return None
    logger.info("admin listening address=%s", name_of(sock))
    return sock


def name_of(sock: socket.socket) -> str:
    """The address a socket is bound to, as a person writes it."""
    if sock.family == socket.AF_UNIX:
        return f"unix:{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    return str(ListenAddress(host, port))
