"""The last known routes on disk, for a proxy that has to start while the store is away.

One file for all workers of a proxy, one JSON object a line: first which store it is about, then a
frontend each, with the hosts it was found for and when. Whoever writes keeps what others wrote.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from app.routing import Frontend, parse_frontend

logger = logging.getLogger(__name__)

VERSION = 1
FORGET_AFTER = 7 * 86400
"""Seconds after which a host that nobody asked for is dropped."""


class Snapshot:
    """The file. Its methods block: call them in a thread."""

    def __init__(self, path: Path, store: str, *, size: int) -> None:
        """`store` names whose routes these are: another store's are not read. `size`: hosts."""
        self._path = path
        self._header = {"version": VERSION, "store": store}
        self._size = size or 10**9

    def load(self) -> dict[str, Frontend]:
        """The frontend of every host, the one seen last first. Nothing, where there is no file."""
        hosts: list[tuple[float, str, Frontend]] = []
        for frontend, seen in self._read():
            hosts += [(then, host, frontend) for host, then in seen.items()]
        hosts.sort(key=lambda entry: entry[0], reverse=True)
        return {host: frontend for _, host, frontend in hosts[: self._size]}

    def write(self, known: Mapping[str, Frontend], absent: Collection[str]) -> None:
        """Replace the file by `known`, which is true now, and by what it said about other hosts
        that are not `absent`. Raises OSError."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self._path.with_suffix(".lock"), "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            temporary = self._path.with_suffix(f".{os.getpid()}.new")
            try:
                self._write(temporary, self._merged(known, absent))
                temporary.replace(self._path)
            finally:
                temporary.unlink(missing_ok=True)

    def _merged(
        self, known: Mapping[str, Frontend], absent: Collection[str]
    ) -> dict[str, tuple[Frontend, dict[str, float]]]:
        now = time.time()
        merged: dict[str, tuple[Frontend, dict[str, float]]] = {}
        for host, frontend in known.items():
            merged.setdefault(frontend.key, (frontend, {}))[1][host] = now
        others = [
            (then, host, frontend)
            for frontend, seen in self._read()
            for host, then in seen.items()
            if host not in known and host not in absent and then > now - FORGET_AFTER
        ]
        others.sort(key=lambda entry: entry[0], reverse=True)
        for then, host, frontend in others[: max(0, self._size - len(known))]:
            merged.setdefault(frontend.key, (frontend, {}))[1][host] = then
        return merged

    def _write(self, path: Path, table: Mapping[str, tuple[Frontend, dict[str, float]]]) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(self._header) + "\n")
            for frontend, hosts in table.values():
                file.write(json.dumps(_as_json(frontend, hosts)) + "\n")

    def _read(self) -> Iterator[tuple[Frontend, dict[str, float]]]:
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(open(self._path, encoding="utf-8"))
                if json.loads(file.readline()) != self._header:
                    return
                for line in file:
                    yield _from_json(json.loads(line))
            except FileNotFoundError:
                return
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
                logger.warning("snapshot unreadable file=%s cause=%s", self._path, exc)


def rows_of(frontend: Frontend) -> list[str]:
    """Hipache's list, as it was read."""
    urls = {backend.index: backend.url for backend in frontend.backends}
    urls |= {entry.index: entry.text for entry in frontend.bad_entries}
    return [frontend.identifier, *(urls[index] for index in sorted(urls))]


def _as_json(frontend: Frontend, hosts: Mapping[str, float]) -> dict[str, Any]:
    return {
        "key": frontend.key,
        "rows": rows_of(frontend),
        "options": dict(frontend.options),
        "hosts": {host: round(then) for host, then in hosts.items()},
    }


def _from_json(value: dict[str, Any]) -> tuple[Frontend, dict[str, float]]:
    frontend = parse_frontend(value["key"], value["rows"], value["options"])
    return frontend, {str(host): float(then) for host, then in value["hosts"].items()}
