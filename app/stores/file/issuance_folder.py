"""Where in the folder of FileIssuance each thing is, and what is over there.

    lock                 locked by the process that orders certificates
    account-<hash>.json  the account at a CA, with its private key
    orders.json          when orders of the last hour began
    full                 until when no client's wish for a name below a wildcard is taken
    challenges/<token>   until when, and what, a CA is answered
    wanted/<name>        why a certificate is wanted
    state/<name>         what went wrong, until when to wait
    certs/<name>.pem     certificate and private key

Only the user who runs the proxy can read them: folders have mode 0700, files 0600.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from ..issuance import HOUR, STATE_LASTS, IssuanceState, Standing
from .small_files import age_of, decoded, left_behind, text_of, unexpired

_CHAIN = re.compile(r"-----BEGIN CERTIFICATE-----.*", re.S)
_MARK = re.compile(r"ordered from (\S+)\n")


class IssuanceFolder:
    """Every method raises OSError."""

    def __init__(self, folder: str) -> None:
        self.path = Path(folder)
        self.lock, self.orders = self.path / "lock", self.path / "orders.json"
        self.full = self.path / "full"
        self.certs, self.wanted = self.path / "certs", self.path / "wanted"
        self.states, self.challenges = self.path / "state", self.path / "challenges"

    def account(self, directory: str) -> Path:
        """One for each directory: another CA is another account."""
        return self.path / f"account-{sha256(directory.encode()).hexdigest()[:16]}.json"

    def certificate(self, name: str) -> Path:
        """Certificate and key of a name, in one file, so that they always fit."""
        return self.certs / f"{name}.pem"

    def standing(self, name: str) -> Standing | None:
        """The certificate of a name, and who ordered it."""
        text = text_of(self.certificate(name)) or ""
        chain, mark = _CHAIN.search(text), _MARK.match(text)
        return Standing(chain[0], mark[1] if mark else "") if chain else None

    def state(self, name: str) -> IssuanceState | None:
        """What went wrong with a name, while that counts."""
        path = self.states / name
        return decoded(text_of(path), IssuanceState) if age_of(path) < STATE_LASTS else None

    def forget(self, name: str) -> None:
        """Its failures, and that it is wanted."""
        for kind in (self.states, self.wanted):
            (kind / name).unlink(missing_ok=True)

    def files(self, kind: Path) -> list[Path]:
        """What is in one of the folders, without what is still being written."""
        if not kind.is_dir():
            return []
        return sorted(path for path in kind.iterdir() if not path.name.startswith("."))

    def expire(self) -> None:
        """Remove what is over: Redis does that by itself. For the process with the lock."""
        for path in self._over():
            path.unlink(missing_ok=True)

    def _over(self) -> Iterator[Path]:
        yield from (p for p in self.files(self.states) if age_of(p) >= STATE_LASTS)
        yield from (p for p in self.files(self.challenges) if unexpired(p) is None)
        if unexpired(self.full) is None:
            yield self.full
        for folder in (self.path, self.certs, self.wanted, self.states, self.challenges):
            yield from left_behind(folder, HOUR)
