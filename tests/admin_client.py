"""Asks an admin listener, and reads what it says with Prometheus' own parser."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]


@dataclass
class Numbers:
    """One scrape."""

    values: dict[tuple[str, Labels], float]
    counters: set[tuple[str, Labels]] = field(default_factory=set)

    def of(self, name: str, **labels: str) -> float:
        """The sum over all series of this name with these labels."""
        return sum(
            value
            for (each, has), value in self.values.items()
            if each == name and labels.items() <= dict(has).items()
        )

    def by(self, name: str, label: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for (each, has), value in self.values.items():
            if each == name:
                found[dict(has)[label]] += int(value)
        return found


def read(text: str) -> Numbers:
    numbers = Numbers({})
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in numbers.values, f"twice: {key}"
            numbers.values[key] = sample.value
            if family.type in ("counter", "histogram"):
                numbers.counters.add(key)
    return numbers


class AdminClient:
    """Every scrape is compared with the one before: no counter may go back."""

    def __init__(self, address: str, token: str | None = None) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.AsyncClient(
            base_url=f"http://{address}", headers=headers, trust_env=False, timeout=20
        )
        self._before: Numbers | None = None

    async def scrape(self) -> Numbers:
        answer = await self.http.get("/metrics")
        assert answer.status_code == 200, answer.text
        now = read(answer.text)
        if self._before is not None:
            for key in self._before.counters:
                assert now.values[key] >= self._before.values[key], f"{key} went back"
        self._before = now
        return now

    async def until(self, name: str, at_least: float, **labels: str) -> Numbers:
        """A request ends a moment after its client has the answer."""
        async with asyncio.timeout(20):
            while True:
                now = await self.scrape()
                if now.of(name, **labels) >= at_least:
                    return now

    async def json(self, path: str) -> Any:
        answer = await self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()
