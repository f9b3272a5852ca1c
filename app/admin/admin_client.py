"""Asks the admin listener of the proxy that runs with this configuration."""

from __future__ import annotations

from typing import Any

import httpx

from ..config.structs import Config
from ..errors import HipacheError
from ..stores import driver_of

ADMIN_TIMEOUT = 5.0
"""Seconds to wait for an answer."""
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class AdminUnavailable(HipacheError):
    """No proxy with this configuration answers; the text says why."""


class AdminClient:
    """A context manager; call `ask` inside it."""

    def __init__(self, config: Config) -> None:
        """Raises AdminUnavailable if the configuration has no admin listener."""
        admin = config.admin
        if admin.bind is None:
            raise AdminUnavailable("admin.bind is null: the proxy has no admin listener")
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
            timeout=ADMIN_TIMEOUT,
            trust_env=False,
        )

    def __enter__(self) -> AdminClient:
        """Raises AdminUnavailable."""
        found = self.ask("/api/")
        if not isinstance(found, dict) or found.get("store") != self._store:
            self._http.close()
            raise AdminUnavailable(f"{self._bind}: a proxy with other routes answers there")
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(self, path: str, **query: str) -> Any:
        """The JSON at `path`. Raises AdminUnavailable."""
        try:
            answer = self._http.get(path, params=query)
            if answer.status_code != httpx.codes.OK:
                raise AdminUnavailable(f"{self._bind}: {answer.text.strip()[:100]}")
            return answer.json()
        except (httpx.HTTPError, ValueError) as exc:
            raise AdminUnavailable(f"{self._bind}: no answer: {exc}") from None


def store_names(config: Config) -> list[str]:
    """The names of the store whose routes a proxy serves, without secrets."""
    return list(driver_of(config).names)
