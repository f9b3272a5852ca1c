"""Asks the admin listener of the proxy that runs with this configuration."""

from __future__ import annotations

from typing import Any

import httpx

from ..config.structs import Config
from ..errors import HipacheError
from ..stores import driver_of

PATIENCE = 5.0
"""Seconds for one answer."""
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class NobodyTells(HipacheError):
    """No proxy of this configuration answers; the text says why."""


class AdminClient:
    """A context; inside it `ask` answers."""

    def __init__(self, config: Config) -> None:
        """Raises NobodyTells where there is nothing to ask."""
        admin = config.admin
        if admin.bind is None:
            raise NobodyTells("admin.bind is null, nobody can be asked")
        self._bind = admin.bind
        self._store = store_names(config)
        host, port = admin.bind.value
        host = _ANY.get(host, host)
        uds = host if host.startswith("/") else None
        name = "localhost" if uds else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._http = httpx.Client(
            base_url=f"http://{name}",
            headers={"authorization": f"Bearer {admin.token}"} if admin.token else {},
            transport=httpx.HTTPTransport(uds=uds),
            timeout=PATIENCE,
            trust_env=False,
        )

    def __enter__(self) -> AdminClient:
        """Raises NobodyTells."""
        found = self.ask("/api/")
        if not isinstance(found, dict) or found.get("store") != self._store:
            self._http.close()
            raise NobodyTells(f"{self._bind}: what answers there serves other routes")
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(self, path: str, **query: str) -> Any:
        """The JSON at `path`. Raises NobodyTells."""
        try:
            answer = self._http.get(path, params=query)
            if answer.status_code != httpx.codes.OK:
                raise NobodyTells(f"{self._bind}: {answer.text.strip()[:100]}")
            return answer.json()
        except (httpx.HTTPError, ValueError) as exc:
            raise NobodyTells(f"{self._bind}: nobody answers: {exc}") from None


def store_names(config: Config) -> list[str]:
    """Whose routes a proxy serves, without secrets."""
    return list(driver_of(config).names)
