"""Asks every backend that is to be checked, spread in time, as long as it is let."""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
import time
from itertools import count

from ..config.structs import HealthCheck
from ..errors import UpstreamBusy, UpstreamError, UpstreamExhausted, UpstreamUnresolved
from ..fields.headers import RawHeaders
from ..health import can_lose_one
from ..routing import Backend, Frontend
from ..stores.base import Checked, CheckRecords
from ..upstream.client import UpstreamClient
from .reports import CheckReports
from .verdicts import MAX_BODY, Patient, question_of, what_is_wrong

logger = logging.getLogger(__name__)

AT_ONCE = 100
LIST_EVERY = 2.0
"""Seconds between two looks at which frontends are to be checked, if a look is quick."""
LIST_SHARE = 0.02
"""Looking takes at most this share of the time, however many keys the store has."""
PING_EVERY = 10.0  # as hchecker
TICK = 0.1
"""Seconds by which a check may be late."""


class Rounds:
    """The backends under check and when each is due. Made anew whenever the lease is taken."""

    def __init__(
        self,
        config: HealthCheck,
        records: CheckRecords,
        client: UpstreamClient,
        reports: CheckReports,
    ) -> None:
        self._config = config
        self._records = records
        self._client = client
        self._reports = reports
        self._patients: dict[tuple[str, str], Patient] = {}
        self._due: list[tuple[float, int, Patient]] = []
        self._numbers = count()  # so that the heap never compares patients
        self._marked: set[str] = set()

    async def run(self) -> None:
        """Check until cancelled. Raises an ExceptionGroup of StoreUnavailable."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._list_for_ever(), name="checks: list")
            tasks.create_task(self._look_for_marks(), name="checks: marks")
            tasks.create_task(self._ping_for_ever(), name="checks: ping")
            tasks.create_task(self._ask_around(tasks), name="checks: schedule")

    async def _list_for_ever(self) -> None:
        while True:
            started = time.monotonic()
            self._take_on(await self._records.listed(every=self._config.path is not None))
            took = time.monotonic() - started
            await asyncio.sleep(max(LIST_EVERY, took / LIST_SHARE))

    async def _ping_for_ever(self) -> None:
        while True:
            if self._patients:
                await self._records.ping()
            await asyncio.sleep(PING_EVERY if self._patients else TICK)

    async def _look_for_marks(self) -> None:
        while True:
            self._marked = await self._records.marked([*{key for key, _ in self._patients}])
            await asyncio.sleep(self._config.interval / 2 if self._patients else TICK)

    def _take_on(self, listed: list[Checked]) -> None:
        """Check these and no others; who stays keeps its history."""
        before, self._patients = self._patients, {}
        for frontend, raw in listed:
            if not can_lose_one(frontend):
                continue
            question, problems = question_of(raw, self._config)
            for problem in problems:
                logger.warning("healthcheck unusable frontend=%s cause=%s", frontend.key, problem)
            for backend in frontend.backends:
                key = frontend.key, backend.url
                patient = before.get(key)
                if patient is None or patient.question != question:
                    rise, fall = self._config.rise, self._config.fall
                    patient = Patient(frontend, backend, question, rise=rise, fall=fall)
                    self._call_up(patient, random.random() * self._config.interval)
                patient.frontend, patient.backend = frontend, backend
                self._patients[key] = patient

    def _call_up(self, patient: Patient, delay: float) -> None:
        heapq.heappush(self._due, (time.monotonic() + delay, next(self._numbers), patient))

    async def _ask_around(self, tasks: asyncio.TaskGroup) -> None:
        slots = asyncio.Semaphore(AT_ONCE)

        async def ask(patient: Patient) -> None:
            try:
                await self._check(patient)
            finally:
                patient.busy = False
                slots.release()

        while True:
            delay = self._due[0][0] - time.monotonic() if self._due else TICK
            if delay > 0:
                await asyncio.sleep(min(delay, TICK))
                continue
            patient = heapq.heappop(self._due)[2]
            if self._patients.get((patient.frontend.key, patient.backend.url)) is not patient:
                continue  # removed meanwhile, or asked another question now
            self._call_up(patient, self._config.interval)
            if not patient.busy:
                await slots.acquire()
                patient.busy = True
                tasks.create_task(ask(patient), name=f"check {patient.backend.url}")

    async def _check(self, patient: Patient) -> None:
        asked = time.time()
        try:
            async with asyncio.timeout(self._config.timeout):
                problem = await self._ask(patient)
        except TimeoutError:
            problem = f"no answer in {self._config.timeout:g} s"
        except (UpstreamBusy, UpstreamExhausted, UpstreamUnresolved):  # our want, not its
            return
        except UpstreamError as exc:
            problem = str(exc)
        if problem is None:
            patient.answered_well(asked)
            if patient.frontend.key in self._marked:
                await self._reports.well(patient)
            return
        patient.answered_badly()
        if patient.ill:
            self._marked.add(patient.frontend.key)
            await self._reports.ill(patient, problem)

    async def _ask(self, patient: Patient) -> str | None:
        question, backend = patient.question, patient.backend
        headers: RawHeaders = [
            (b"host", _host(patient.frontend, backend)),
            (b"user-agent", b"hipache-health-check"),
            (b"accept", b"*/*"),
            (b"connection", b"close"),
        ]
        answer = await self._client.open(backend, question.method, question.path, headers, None)
        try:
            body = b""
            if question.body:
                async for chunk in answer:
                    body += chunk
                    if len(body) >= MAX_BODY:
                        break
            return what_is_wrong(question, answer.status, body[:MAX_BODY])
        finally:
            await answer.aclose()


def _host(frontend: Frontend, backend: Backend) -> bytes:
    """The site's name, or the backend's where the key is a wildcard."""
    if not frontend.key.startswith("*"):
        return frontend.key.encode()
    if backend.scheme == "unix":
        return b"localhost"
    host = f"[{backend.host}]" if ":" in backend.host else backend.host
    return f"{host}:{backend.port}".encode()
