"""What every section of the configuration is made of. Pure."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

DECADE = 10 * 365 * 86400
Seconds = Annotated[float, Meta(ge=0, le=DECADE)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Port = Annotated[int, Meta(ge=0, le=65535)]  # 0 takes any free port


def _camel(name: str) -> str:
    """
    >>> _camel("dead_backend_ttl")
    'deadBackendTTL'
    """
    first, *rest = name.split("_")
    return first + "".join(w.upper() if w in {"ttl", "tls"} else w.capitalize() for w in rest)


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=_camel):
    """An object of the file: immutable, and a key that is not listed is an error."""
