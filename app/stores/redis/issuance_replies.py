"""What Redis answers about certificates and those who get them, as our own values."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from redis.exceptions import ResponseError

from ..issuance import IssuanceListener, IssuanceState, Progress, Standing, Wish
from .named_changes import NamedChanges
from .replies import text


def question(key: str) -> tuple[str, ...]:
    """What reads the certificate of a key, and our mark."""
    return ("HMGET", key, "certificate", "acme")


def standing_of(answer: Any) -> Standing | None:
    """From the answer to `question`."""
    if isinstance(answer, ResponseError) or not answer[0]:
        return None
    return Standing(text(answer[0]), text(answer[1] or b""))


def state_of(answer: Any) -> IssuanceState | None:
    """From the answer to GET acme:state:<name>."""
    if answer is None or isinstance(answer, ResponseError):
        return None
    try:
        return msgspec.json.decode(answer, type=IssuanceState)
    except msgspec.MsgspecError:
        return None  # of another version


def progress_from(names: Sequence[str], there: Sequence[Any], states: Any) -> dict[str, Progress]:
    """From the answers to EXISTS of each certificate, or none where none is there, and to MGET of
    the states. What may not be read is not there."""
    known = {name for name, answer in zip(names, there, strict=False) if answer == 1}
    texts = [None] * len(names) if isinstance(states, ResponseError) else states
    return {
        name: Progress(name in known, state_of(text))
        for name, text in zip(names, texts, strict=True)
    }


def optional_text(value: Any) -> str | None:
    """A string, if there is one."""
    return None if value is None else text(value)


def is_old(value: str) -> bool:
    """Whether a wish is to be forgotten, or is none."""
    kind, _, since = value.partition(" ")
    if kind not in set(Wish) or not since.isdecimal():
        return True
    return abs(time.time() - int(since)) > Wish(kind).lasts


class IssuanceChanges(NamedChanges):
    """Passes on what the tracking connection reports of certificates, and of wishes for them."""

    def __init__(self, listener: IssuanceListener, start: str, wanted: str) -> None:
        super().__init__(listener, start)
        self._wished, self._start, self._wanted = listener.wished, start, wanted

    def keys(self, keys: list[bytes] | None) -> None:
        """Keys of a push; None: the server was flushed."""
        if keys is not None:
            if self._wanted.encode() in keys:
                self._wished()
            keys = [key for key in keys if key.startswith(self._start.encode())]
        if keys != []:
            super().keys(keys)
