"""What listens in one process with a hub's proxy: the API, the metrics and the redirects."""

from __future__ import annotations

import logging
import os
import socket
import ssl
from collections.abc import Sequence
from functools import partial

from starlette.types import ASGIApp, Receive, Scope, Send

from ..admin.admin_listener import AdminListener
from ..errors import ConfigError
from ..fields.headers import field
from ..server.listeners import ListenAddress, bind
from ..tls.listener import TLSListener
from .chp_options import ChpOptions
from .hub_numbers import CONTENT_TYPE, HubNumbers

logger = logging.getLogger("hipache.chp")


def bind_hub(wanted: Sequence[ListenAddress], what: str) -> list[socket.socket]:
    """Sockets that listen there, each told in the log. Raises ConfigError.

    Of several addresses one is enough: a machine may lack a family.
    """
    bound: list[socket.socket] = []
    for address in wanted:
        if bound and not address.port:
            address = ListenAddress(address.host, bound[0].getsockname()[1])
        try:
            bound.append(bind(address, mode=0o777 & ~_umask()))
        except ConfigError as exc:
            if not bound:
                raise
            logger.debug("not listening address=%s cause=%s", address, exc)
    for sock in bound:
        name = sock.getsockname()
        shown = f"unix:{name}" if isinstance(name, str) else str(ListenAddress(*name[:2]))
        logger.info(f"{what} listening address=%s", shown)
    return bound


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _beside(
    app: ASGIApp, wanted: Sequence[ListenAddress], what: str, tls: ssl.SSLContext | None = None
) -> list[AdminListener]:
    return [AdminListener(app, None, sock, tls=tls) for sock in bind_hub(wanted, what)]


def listeners_beside(options: ChpOptions, api: ASGIApp, numbers: HubNumbers) -> list[AdminListener]:
    """All of them. Raises ConfigError."""
    secured = options.api_tls.bind("api-ssl")
    tls = TLSListener(secured).current() if secured is not None else None
    return [
        *_beside(api, options.api, "chp api", tls),
        *_beside(partial(_tell, numbers), options.metrics, "chp metrics"),
        *_beside(partial(_redirect, options.redirect_to), options.redirects, "chp redirect"),
    ]


async def _tell(numbers: HubNumbers, scope: Scope, _: Receive, send: Send) -> None:
    """The page of metrics."""
    found = scope["raw_path"] == b"/metrics"
    await _answer(
        send, 200 if found else 404, (b"content-type", CONTENT_TYPE),
        numbers.page() if found else b"Not Found",
    )  # fmt: skip


async def _redirect(port: int, scope: Scope, _: Receive, send: Send) -> None:
    """To https on `port`."""
    host = (field(scope["headers"], b"host") or b"").partition(b":")[0]
    if port != 443:
        host += b":%d" % port
    query = scope["query_string"]
    target = scope["raw_path"] + (b"?" + query if query else b"")
    await _answer(send, 301, (b"location", b"https://" + host + target), b"")


async def _answer(send: Send, status: int, header: tuple[bytes, bytes], body: bytes) -> None:
    headers = [header, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
