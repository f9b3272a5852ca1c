"""What the calls of gRPC tell of a backend: their status stands behind an answer that is 200."""

from __future__ import annotations

from typing import Any

from ..grpc.statuses import GrpcStatus, grpc_verdict
from ..health import Verdict
from .attempt import Attempt
from .health_reports import HealthReports

REASON = "gRPC status"
"""What the counters call a call that a defect or an outage of the backend has ended."""


class CallReports:
    """Judges calls by their status; the reports do what follows."""

    def __init__(self, reports: HealthReports) -> None:
        self._reports = reports

    def judge(self, attempt: Attempt[Any]) -> bool:
        """Whether its status says anything but that the backend is alive."""
        status: GrpcStatus | None = attempt.grpc_status
        if status is None:
            return False
        verdict = grpc_verdict(status, dead_on_500=self._reports.dead_on_500)
        if verdict is Verdict.ALIVE:
            return False
        if verdict is Verdict.EVIDENCE:
            self._reports.count_failure(attempt, REASON, verdict)
        self._reports.act(verdict, attempt, f"gRPC status {status.name}", REASON)
        return True

    def ended(self, attempt: Attempt[Any]) -> None:
        """The trailers have come: its head has counted as good already."""
        if self.judge(attempt):
            self._reports.take_back(attempt)
