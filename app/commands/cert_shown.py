"""What `hipache cert` shows of one name."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

from ..balancing.explain_text import ago
from ..stores.issuance import IssuanceState, Standing
from ..tls.certificates import expiry


@dataclass(frozen=True, slots=True)
class Shown:
    """One name. Times are Unix seconds."""

    name: str
    ends: float | None = None
    """None without a certificate, or where none can be read."""
    ordered_from: str = ""
    """Empty where somebody else put it there."""
    fingerprint: str = ""
    """SHA-256 of the certificate."""
    error: str = ""
    """Of the last attempt, if that failed."""
    failures: tuple[float, ...] = ()
    not_before: float | None = None
    """When the next attempt may be made."""
    wanted: str = ""
    """Why, as stores.issuance.Wish has it; empty if nobody waits for one."""

    @classmethod
    def of(
        cls, name: str, standing: Standing | None, state: IssuanceState | None, wanted: str = ""
    ) -> Shown:
        """From what is in the store."""
        ends, fingerprint = None, ""
        if standing is not None:
            try:
                ends = expiry(standing.certificate.encode()).timestamp()
                first = standing.certificate.partition("-----END CERTIFICATE-----")
                der = ssl.PEM_cert_to_DER_cert(f"{first[0]}{first[1]}".strip())
                fingerprint = hashlib.sha256(der).hexdigest()
            except (ValueError, IndexError):
                pass
        return cls(
            name, ends, standing.mark if standing else "", fingerprint,
            state.error if state else "", state.failures if state else (),
            state.not_before if state and state.not_before else None, wanted,
        )  # fmt: skip


def in_words(shown: Shown, now: float) -> str:
    """One line, without the name."""
    parts = ["no certificate"]
    if shown.ends is not None:
        day = datetime.fromtimestamp(shown.ends, UTC)
        left = shown.ends - now
        days = f"in {left / 86_400:.0f} days" if left > 0 else "it is over"
        parts = [f"ends {day:%Y-%m-%d %H:%M} UTC ({days})"]
    elif shown.ordered_from:
        parts = ["a certificate that cannot be read"]
    if shown.ends is not None:
        parts.append(f"from {shown.ordered_from}" if shown.ordered_from else "put there by hand")
    if shown.error:
        parts.append(f"failed: {shown.error}")
    if shown.not_before is not None and shown.not_before > now:
        parts.append(f"next attempt in {ago(shown.not_before - now)}")
    return ", ".join(parts)
