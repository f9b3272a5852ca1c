"""What `hipache chp` counts, under the names that configurable-http-proxy gave its metrics."""

from __future__ import annotations

from collections import Counter

import psutil

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_HELP = {
    "api_route_get": "Requests of the API for the table of routes",
    "api_route_add": "Routes added over the API",
    "api_route_delete": "Requests of the API to remove a route",
    "requests_ws": "WebSockets asked for",
    "requests_web": "HTTP requests",
    "requests_proxy": "Answers, by status",
    "requests_api": "Requests of the API, by status",
    "find_target_for_req": "Seconds to find the route of a request",
    "last_activity_updating": "Seconds to note that a route is in use",
}
_BY_STATUS = ("requests_proxy", "requests_api")
_SUMMARIES = ("find_target_for_req", "last_activity_updating")


class HubNumbers:
    """The counters of one process."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._by_status: Counter[tuple[str, int]] = Counter()
        self._seconds: Counter[str] = Counter()
        self._process = psutil.Process()

    def count(self, name: str) -> None:
        """One more."""
        self._counts[name] += 1

    def status(self, name: str, status: int) -> None:
        """One more answer with this status."""
        self._by_status[name, status] += 1

    def took(self, name: str, seconds: float) -> None:
        """One more, which has taken so long."""
        self._counts[name] += 1
        self._seconds[name] += seconds  # type: ignore[assignment] # Counter knows integers only

    def page(self) -> bytes:
        """All of them, in the text format of Prometheus."""
        lines: list[str] = []
        for name, told in _HELP.items():
            kind = "summary" if name in _SUMMARIES else "counter"
            lines += [f"# HELP {name} {told}.", f"# TYPE {name} {kind}"]
            if name in _SUMMARIES:
                lines += [f"{name}_sum {float(self._seconds[name])!r}"]
                lines += [f"{name}_count {self._counts[name]}"]
            elif name in _BY_STATUS:
                lines += [
                    f'{name}{{status="{status}"}} {count}'
                    for (of, status), count in sorted(self._by_status.items())
                    if of == name
                ]
            else:
                lines.append(f"{name} {self._counts[name]}")
        times = self._process.cpu_times()
        for name, kind, value in (
            ("process_cpu_seconds_total", "counter", times.user + times.system),
            ("process_resident_memory_bytes", "gauge", self._process.memory_info().rss),
            ("process_start_time_seconds", "gauge", self._process.create_time()),
        ):
            lines += [f"# TYPE {name} {kind}", f"{name} {value}"]
        return "\n".join([*lines, ""]).encode()
