"""What is answered where no target answers: the hub's own pages, those of a folder, or ours."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote_plus, urlsplit

from ..errors import (
    FrontendNotFound,
    InvalidBackend,
    NoLiveBackend,
    PassedOn,
    ProxyError,
    UpstreamError,
)
from ..fields.headers import RawHeaders
from ..proxy.request import Request
from ..upstream.client import UpstreamClient, body_of
from ..upstream.own_requests import own_request
from .target_paths import backend_of, join, target_of

logger = logging.getLogger("hipache.chp")

MAX_PAGE = 2**20
"""Bytes of a page that are taken from the error target."""
PAGE_WITHIN = 10.0
"""Seconds for the error target's whole answer."""
HTML = b"text/html"
OUR_PAGE = "<!doctype html><title>{0}: {1}</title><h1>{0}: {1}</h1>\n"


@dataclass(frozen=True, slots=True)
class HubPages:
    """Where pages come from: a target that is asked, a folder, or neither."""

    target: str | None = None
    folder: Path | None = None

    async def page(self, client: UpstreamClient, request: Request, error: ProxyError) -> ProxyError:
        """The answer in place of `error`, which a client of the hub's proxy expects."""
        status = status_of(error)
        headers: RawHeaders = []
        body = b""
        if request.web_socket:
            pass  # nobody would see a page
        elif status < 404 or status in {408, 413}:
            return error  # about the request itself
        elif self.target is not None:
            headers, body = await self._asked(client, self.target, status, request)
        elif (page := await asyncio.to_thread(self._read, status)) is not None:
            headers, body = [(b"content-type", HTML)], page
        else:
            headers, body = [], phrase(status).encode()
        headers.append((b"content-length", b"%d" % len(body)))
        return PassedOn(status, (*headers, *error.fields), body, str(error))

    def _read(self, status: int) -> bytes | None:
        if self.folder is None:
            return OUR_PAGE.format(status, phrase(status)).encode()
        for name in (f"{status}.html", "error.html"):
            try:
                return (self.folder / name).read_bytes()
            except FileNotFoundError:
                continue
            except OSError as exc:
                logger.error("error page unreadable file=%s cause=%s", self.folder / name, exc)
                return None
        logger.error("error page missing folder=%s status=%d", self.folder, status)
        return None

    async def _asked(
        self, client: UpstreamClient, url: str, status: int, request: Request
    ) -> tuple[RawHeaders, bytes]:
        """The error target's page, else a bare one."""
        target = target_of(url)
        base = target.path if target.path.endswith(b"/") else target.path + b"/"
        query = f"url={quote_plus(request.target, safe='*-._')}".encode("ascii")
        asked = join(base, target.query, b"%d" % status, query)
        fields: RawHeaders = [(b"host", target.authority)]
        try:
            async with asyncio.timeout(PAGE_WITHIN):
                answer = await own_request(client, backend_of(url), b"GET", asked, fields=fields)
                try:
                    body = await body_of(answer, MAX_PAGE)
                finally:
                    await answer.aclose()
            if body is None:
                raise ValueError(f"longer than {MAX_PAGE} bytes")
        except (UpstreamError, TimeoutError, ValueError) as exc:
            logger.error("error page not gotten target=%s cause=%s", url, exc or "timeout")
            return [], phrase(status).encode()
        kept = {b"content-type", b"content-encoding"}
        return [field for field in answer.headers if field[0] in kept], body


def status_of(error: ProxyError) -> int:
    """404 without a route, 503 without an answer, 500 for a target that is no URL."""
    if isinstance(error, FrontendNotFound):
        return 404
    if isinstance(error, InvalidBackend):
        return 500
    if isinstance(error, NoLiveBackend | UpstreamError) and error.status >= 500:
        return 503
    return error.status


def phrase(status: int) -> str:
    """A status in words."""
    return HTTPStatus(status).phrase


def check_error_target(url: str) -> None:
    """Raises ValueError where it cannot be asked for pages."""
    if urlsplit(url).scheme == "":
        raise ValueError("expected a URL")
    backend_of(url)
