"""A frontend as JSON, for the snapshot and for what workers of one proxy tell each other. Pure."""

from __future__ import annotations

import json

from ...routing import Frontend, parse_frontend


def text_of(frontend: Frontend) -> bytes:
    """All that is needed to make it again."""
    value = {
        "key": frontend.key, "rows": rows_of(frontend), "options": dict(frontend.options),
    }  # fmt: skip
    if frontend.site is not None:
        value["paths"] = [prefix.decode() for prefix in frontend.site.keys]
    return json.dumps(value).encode()


def frontend_from(text: bytes) -> Frontend:
    """The frontend of such a text.

    Raises ValueError, KeyError, TypeError, AttributeError, RecursionError.
    """
    value = json.loads(text)
    return parse_frontend(value["key"], value["rows"], value["options"], value.get("paths", ()))


def rows_of(frontend: Frontend) -> list[str]:
    """Hipache's list, as it was read; empty for a host that has prefixes only."""
    if frontend.site is not None and not frontend.site.listed:
        return []
    urls = {backend.index: backend.url for backend in frontend.backends}
    urls |= {entry.index: entry.text for entry in frontend.bad_entries}
    return [frontend.identifier, *(urls[index] for index in sorted(urls))]
