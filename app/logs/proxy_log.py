"""The log of the proxy itself: one event, one line, the same keys everywhere.

Callers use stdlib logging and write each value behind its key:

    logger.warning("backend dead frontend=%s backend=%s ttl=%ds", …)

The formatters read event and keys from that, so that text and JSON say the
same, numbers stay numbers in JSON, and no value can break a line.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from time import monotonic
from typing import Any, TextIO

REPEAT_SECONDS = 60.0
MAX_ALIKE = 30
"""Lines from one place in the code within REPEAT_SECONDS, whatever their values."""
MAX_REMEMBERED = 1000
OURS = tuple({__name__.partition(".")[0], "hipache"})
"""Our own loggers: the package is `app` in a checkout and `hipache` where it is installed."""
LIBRARIES = ("opentelemetry", "uvicorn")
"""Only warnings of these are kept: our own lines report the same events."""
CHATTY = "opentelemetry."
"""While a collector is away, each of its lines differs only in the time to wait: one is enough."""

# `key=%s`, perhaps with a unit behind it; or any other conversion, which has no key.
_CONVERSION = re.compile(
    r"(?:(?P<key>\w+)=)?(?P<format>%(?:%|[-#0 +]*\d*(?:\.\d+)?[a-zA-Z])[^\s%,]*)"
)
_PLAIN = re.compile(r"[!#-<>-\[\]-~]+")  # printable ASCII without space, quote, = and backslash


@lru_cache(512)
def _parse(template: str) -> tuple[str, tuple[tuple[str, str], ...]] | None:
    """A message's template as its event and its keys with their formats.

    None where it has no values, or one without a key.

    >>> _parse("backend dead backend=%s ttl=%ds, trying others")
    ('backend dead, trying others', (('backend', '%s'), ('ttl', '%ds')))
    """
    found = list(_CONVERSION.finditer(template))
    if not found or any(match["key"] is None for match in found):
        return None
    event = " ".join(_CONVERSION.sub("", template).split()).replace(" ,", ",")
    return event, tuple((match["key"], match["format"]) for match in found)


def fields(record: logging.LogRecord, *, numbers: bool) -> dict[str, Any]:
    """The parts of a line, in order: time, level, event, the event's own keys.

    With `numbers`, numbers stay numbers, without a unit; else every value is text.
    """
    at = datetime.fromtimestamp(record.created, UTC)
    values: dict[str, Any] = {
        "time": f"{at:%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03}Z",
        "level": record.levelname.lower(),
    }
    parsed = _parse(str(record.msg))
    if parsed and isinstance(record.args, tuple) and len(record.args) == len(parsed[1]):
        values["event"], keys = parsed
        for (key, pattern), arg in zip(keys, record.args, strict=True):
            is_number = isinstance(arg, int) or (isinstance(arg, float) and isfinite(arg))
            key = f"{key}_" if key in values else key
            values[key] = arg if numbers and is_number else pattern % (arg,)
    else:
        values["event"] = record.getMessage()
    if repeated := getattr(record, "repeated", 0):
        values["repeated"] = repeated
    if record.exc_info:
        values["trace"] = logging.Formatter().formatException(record.exc_info)
    return values


class TextFormatter(logging.Formatter):
    """`key=value`, quoted as in JSON if the value is more than plain characters."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        return " ".join(
            f"{key}={value if _PLAIN.fullmatch(str(value)) else json.dumps(value)}"
            for key, value in _with_worker(fields(record, numbers=False), self._worker).items()
        )


class JsonFormatter(TextFormatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_with_worker(fields(record, numbers=True), self._worker))


def _with_worker(values: dict[str, Any], worker: int | None) -> dict[str, Any]:
    return values if worker is None else {"time": values.pop("time"), "worker": worker} | values


@dataclass(slots=True)
class _Said:
    """The lines of one place in the code, or repeats of one line, in their minute."""

    begun: float
    lines: int = 0
    held: int = 0
    """Lines held back since the last one that was written."""


class Repeats(logging.Filter):
    """Lets a warning through once a minute; the next one tells how many were held back.

    Lines with different values are different, so two dead backends are two lines.
    But no place in the code gets more than MAX_ALIKE lines a minute, or a client
    could fill the log with new values. That limit holds for info as well where
    requests cause it, such as a backend that comes and goes. Debug is not limited,
    and neither is a supervisor's info: forty workers may start at once. A place is
    a logger and a message's template.
    """

    def __init__(self, clock: Callable[[], float] = monotonic, *, info: bool = True) -> None:
        """`info`: whether to limit lines of that level, too."""
        super().__init__()
        self._clock = clock
        self._least = logging.INFO if info else logging.WARNING
        self._said: OrderedDict[tuple[object, ...], _Said] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < self._least:
            return True
        where = (record.name, record.msg)
        place = self._of(where)
        if place.lines >= (1 if record.name.startswith(CHATTY) else MAX_ALIKE):
            place.held += 1
            return False
        repeated = 0
        if record.levelno >= logging.WARNING:
            # Two defects may have the same message: the trace tells them apart.
            raised = record.exc_info[0] if record.exc_info else None
            line = self._of((*where, str(record.args), raised))
            if line.lines:
                line.held += 1
                return False
            line.lines, repeated, line.held = 1, line.held, 0
        place.lines += 1
        record.repeated = repeated + place.held
        place.held = 0
        return True

    def _of(self, key: tuple[object, ...]) -> _Said:
        now = self._clock()
        said = self._said.pop(key, None) or _Said(now)
        if now - said.begun >= REPEAT_SECONDS:
            said.begun, said.lines = now, 0
        self._said[key] = said
        if len(self._said) > MAX_REMEMBERED:
            self._said.popitem(last=False)
        return said


def set_up(
    log_format: str,
    *,
    debug: bool = False,
    worker: int | None = None,
    stream: TextIO | None = None,
    loggers: tuple[str, ...] = (*OURS, *LIBRARIES, ""),
    serves: bool = True,
) -> None:
    """Send these loggers to `stream` (stderr) as `text` or `json`; debug messages if `debug`.

    Replaces the handlers they had, so it may be called again in a worker. The empty name
    stands for all other loggers, such as asyncio's: only their warnings are kept. `serves`:
    requests are served here.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter((JsonFormatter if log_format == "json" else TextFormatter)(worker))
    handler.addFilter(Repeats(info=serves))
    for name in loggers:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        least = logging.WARNING if name in (*LIBRARIES, "") else logging.INFO
        logger.setLevel(logging.DEBUG if debug and name else least)
