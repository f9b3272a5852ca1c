"""Error pages with blanks: rendered once, filled in for each request."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import escape


class Blank:
    """A value that is filled in after rendering: a template can print it and do nothing else."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __html__(self) -> str:
        return f"\1{self._name}\1"

    def __str__(self) -> str:
        raise TypeError(f"{self._name} can only be printed")

    def __eq__(self, other: object) -> bool:
        raise TypeError(f"{self._name} can only be printed; compare error or status")

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """A page with its blanks."""

    content_type: str
    pieces: tuple[bytes, ...]
    """Text and the names of blanks by turns: text first and last."""

    def fill(self, message: str, request_id: str) -> bytes:
        """The page for one request."""
        values = {
            b"message": str(escape(message)).encode(),
            b"request_id": str(escape(request_id)).encode(),
        }
        return b"".join(values[p] if i % 2 else p for i, p in enumerate(self.pieces))


def template_page(rendered: str) -> ErrorPage:
    """A page whose template was rendered with Blanks."""
    return ErrorPage("text/html; charset=utf-8", tuple(rendered.encode().split(b"\1")))


def static_page(content: bytes) -> ErrorPage:
    """A Hipache page as it is; it names a charset only if it is UTF-8."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return ErrorPage("text/html", (content,))
    return ErrorPage("text/html; charset=utf-8", (content,))


def environment_of(directory: Path, built_in: Path) -> Environment:
    """Templates of one directory, which may extend our `base.html`."""
    return Environment(
        loader=FileSystemLoader([directory, built_in]),
        autoescape=True,
        auto_reload=False,
        undefined=StrictUndefined,  # a misspelt name is a mistake, not an empty string
        trim_blocks=True,
        lstrip_blocks=True,
    )
