"""What is told, and the message that tells it. Pure."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

from ..config.alerts import Alert, AlertKind
from ..fields.headers import RawHeaders

AGENT = (b"user-agent", b"hipache-alerts")
SHOWN = 5
"""Events that `text` tells one by one."""
NO_FACTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEvent:
    """Something has changed."""

    kind: AlertKind
    subject: str
    """What it is about: the same text in all proxies."""
    state: str
    """What it is now: the same is not told twice within a pause."""
    text: str
    """One line for people."""
    at: float
    """Unix seconds."""
    facts: Mapping[str, str] = field(default_factory=lambda: NO_FACTS)
    """More keys of the event."""
    everywhere: bool = True
    """Told once by all proxies of a store; else once by each machine."""
    pause: float = 0.0
    """Seconds until the same may be told again, if that is more than the receiver's own."""

    def name_for(self, receiver: str, state: str | None = None) -> str:
        """The name under which one worker claims to tell `receiver` of it."""
        said = "\0".join((receiver, self.kind_of_subject, self.subject, state or self.state))
        return f"alert:{hashlib.sha256(said.encode()).hexdigest()[:32]}"

    @property
    def kind_of_subject(self) -> str:
        """`dead` and `alive` are about the same."""
        return "backend" if self.kind in {"dead", "alive"} else self.kind

    def as_json(self) -> dict[str, str]:
        """In the message."""
        time = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="seconds")
        told = {"event": self.kind, "state": self.state, "time": time, "text": self.text}
        return {**told, **self.facts}


def message_of(events: Sequence[AlertEvent], *, lost: int, proxy: str) -> bytes:
    """The body that tells `events`; `lost` is how many more there were since the last message."""
    lines = [event.text for event in events[:SHOWN]]
    if more := len(events) - len(lines) + lost:
        lines.append(f"and {more} more")
    return json.dumps({
        "text": "\n".join(lines),
        "proxy": proxy,
        "events": [event.as_json() for event in events],
        "lost": lost,
    }).encode()  # fmt: skip


def fields_of(alert: Alert, body: bytes, *, delivery: str, now: float) -> RawHeaders:
    """The fields of one delivery. `delivery` stays the same when it is repeated."""
    timestamp = b"%d" % now
    fields = [
        (b"host", alert.url.value.host),
        AGENT,
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-hipache-delivery", delivery.encode()),
        (b"x-hipache-timestamp", timestamp),
    ]
    if alert.secret is not None:
        signed = hmac.digest(alert.secret.encode(), timestamp + b"." + body, "sha256")
        fields.append((b"x-hipache-signature", b"sha256=" + signed.hex().encode()))
    return fields
