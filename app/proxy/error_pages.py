"""The answers the proxy gives itself: a page, a JSON object or plain text.

Hipache looked for `<staticDir>/error_<status>.html`, then `error_default.html`
(lib/worker.js, 0.4). Here each directory is asked in turn, the built-in one last,
and in each the status's own page comes before the default one:

    <status>.html         a Jinja template; knows status, title, error, message, request_id
    error_<status>.html   Hipache's name; served byte for byte
    default.html, error_default.html

A template is rendered once for each kind of error. The parts that differ between requests
are filled in afterwards, so a flood of errors costs no rendering.
"""

from __future__ import annotations

import json
import logging
import os
import traceback
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from pathlib import Path

from jinja2 import TemplateSyntaxError

from ..errors import FrontendNotFound, ProxyError
from ..fields.headers import RawHeaders
from .media_types import HTML, PLAIN, preferred_type
from .page_blanks import Blank, ErrorPage, environment_of, static_page, template_page

MAX_SHOWN = 200
"""Characters of a message or request id that an answer repeats."""

BARE_PAGE = "<!doctype html><h1>%d %s</h1><p>\1message\1<p>Request id \1request_id\1"
"""For when not even the built-in page can be read."""


class ErrorPages:
    """Renders what a client sees of a ProxyError.

    `directories` hold an operator's own pages, the most important first. Pages are
    read when this is made; one that does not compile or render is replaced by the
    next in line, with one log line that names file, line and reason.
    """

    def __init__(
        self, directories: Sequence[Path] = (), *, logger: logging.Logger | None = None
    ) -> None:
        self._logger = logger or logging.getLogger(__name__)
        self._built_in = templates_directory() / "errors"
        self._environments = {
            directory: environment_of(directory, self._built_in)
            for directory in (*directories, self._built_in)
        }
        self._rendered: dict[tuple[type[ProxyError], int], ErrorPage] = {}
        self._refused: set[Path] = set()
        for directory in directories:
            self._check(directory)

    def render(
        self, error: ProxyError, *, accept: bytes = b"", request_id: str = "", host: str = ""
    ) -> tuple[RawHeaders, bytes]:
        """Fields and body that answer a request which failed with `error`.

        `accept` is the request's `Accept` value, empty when it has none (several
        fields joined with a comma), `host` the one that it asked for. For HEAD send
        the fields without the body.
        """
        message = _shown(public_message(error, host))
        request_id = _shown(request_id)
        kind = preferred_type(accept)
        if kind == HTML:
            page = self._page(error)
            content_type, body = page.content_type, page.fill(message, request_id)
        elif kind == PLAIN:
            content_type, body = _plain(error.status, message, request_id)
        else:
            content_type, body = kind, _json(error.status, message, request_id)
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),  # a message may repeat the client's bytes
        ]
        if error.retry_after is not None:
            headers.append((b"retry-after", b"%d" % error.retry_after))
        headers += error.fields
        return headers, body

    def _page(self, error: ProxyError) -> ErrorPage:
        key = (type(error), error.status)
        page = self._rendered.get(key)
        if page is None:
            page = self._rendered[key] = self._find(error)
        return page

    def _find(self, error: ProxyError) -> ErrorPage:
        for path in self._candidates(error.status):
            if page := self._load(path, error):
                return page
        return template_page(BARE_PAGE % (error.status, reason_phrase(error.status)))

    def _candidates(self, status: int) -> Iterator[Path]:
        for directory in self._environments:
            for stem in (str(status), "default"):
                yield from (directory / f"{stem}.html", directory / f"error_{stem}.html")

    def _load(self, path: Path, error: ProxyError) -> ErrorPage | None:
        if path in self._refused:
            return None
        try:
            if not path.is_file():
                return None
            if path.name.startswith("error_"):
                return static_page(path.read_bytes())
            return template_page(
                self._environments[path.parent]
                .get_template(path.name)
                .render(
                    status=error.status,
                    title=reason_phrase(error.status),
                    error=type(error).__name__,
                    message=Blank("message"),
                    request_id=Blank("request_id"),
                )
            )
        except Exception as exc:  # a template is somebody's program: it can raise anything
            self._refused.add(path)
            self._logger.warning(
                "error page refused file=%s line=%d reason=%s", *_place(exc, path), _reason(exc)
            )
            return None

    def _check(self, directory: Path) -> None:
        """Load every page once, so that a mistake shows at start and not at the first error."""
        try:
            names = os.listdir(directory)
        except OSError as exc:
            self._logger.warning(
                "error pages missing directory=%s reason=%s", directory, _reason(exc)
            )
            return
        for name in sorted(names):
            stem = name.removesuffix(".html").removeprefix("error_")
            if name.endswith(".html") and (stem.isdecimal() or stem == "default"):
                sample = ProxyError()
                sample.status = int(stem) if stem.isdecimal() else sample.status
                self._load(directory / name, sample)


def templates_directory() -> Path:
    """`templates`: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "templates"
    return installed if installed.is_dir() else package.parent / "templates"


def public_message(error: ProxyError, host: str = "") -> str:
    """The part of `error` that any client may read.

    The text of a 4xx is about the client's own request. That of a 5xx may name
    addresses behind the proxy, so only the message of its class is shown.
    """
    if host and isinstance(error, FrontendNotFound):
        return f"{error}: {host}"
    return str(error) if error.status < 500 else error.message


def reason_phrase(status: int) -> str:
    """The status's registered name, "Error" for one that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _shown(text: str) -> str:
    """`text` as an answer may repeat it: bounded, without control characters."""
    text = text[:MAX_SHOWN]
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def _plain(status: int, message: str, request_id: str) -> tuple[str, bytes]:
    text = f"{status} {reason_phrase(status)}\n{message}\nrequest id: {request_id}\n"
    return "text/plain; charset=utf-8", text.encode()


def _json(status: int, message: str, request_id: str) -> bytes:
    problem = {
        "status": status,
        "title": reason_phrase(status),
        "detail": message,
        "request_id": request_id,
    }
    return json.dumps(problem).encode() + b"\n"


def _place(exc: Exception, path: Path) -> tuple[str, int]:
    """File and line of the template where `exc` arose."""
    if isinstance(exc, TemplateSyntaxError):
        return exc.filename or str(path), exc.lineno
    frames = [f for f in traceback.extract_tb(exc.__traceback__) if f.filename.endswith(".html")]
    return (frames[-1].filename, frames[-1].lineno or 1) if frames else (str(path), 1)


def _reason(exc: Exception) -> str:
    """What happened, in one line."""
    return " ".join(f"{type(exc).__name__}: {exc}".split())
