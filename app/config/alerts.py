"""The section `alerts`: who is told when something dies. Pure."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from ..frontends.services import Service, parse_service
from .parsed import Parsed, text
from .types import Section

AlertKind = Literal["dead", "alive", "certificate", "store"]
ALL_KINDS: tuple[AlertKind, ...] = ("dead", "alive", "certificate", "store")


class AlertURL(Parsed[Service]):
    """`alerts[].url`: a token may be in it."""

    def parse(self, written: Any) -> Service:
        """Where the messages are sent."""
        try:
            return parse_service(text(written))
        except ValueError:
            raise ValueError(
                "this is not the http or https URL of a receiver, without a password"
            ) from None


class Alert(Section, frozen=True, kw_only=True):
    """An entry of `alerts`."""

    url: AlertURL
    on: Annotated[tuple[AlertKind, ...], Meta(min_length=1)] = ALL_KINDS
    secret: Annotated[str, Meta(min_length=8)] | None = None  # signs the messages
    pause: Annotated[float, Meta(ge=1, le=86_400)] = 60.0  # until the same is told again
