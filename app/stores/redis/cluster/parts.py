"""What is sent to one primary as a whole: a command, or all from MULTI to EXEC. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import ResponseError

from .slot_map import Address, Argument, key_of, slot_of

ClusterCommand = Sequence[Argument]
SEVERAL_KEYS = frozenset({"DEL", "EXISTS", "MGET"})
"""Commands that name keys alone: they are asked for each key, since no slot has them all."""


class ShardAway(ResponseError):
    """The primary of a slot does not answer; others may."""


class ShardQuiet(ShardAway):
    """It did not answer before, so it was not asked; or it says that it serves nothing now."""


@dataclass(slots=True, eq=False)
class Part:
    """Commands that go to one primary, in this order and without others in between."""

    commands: list[ClusterCommand]
    slot: int | None
    """None where any primary will do."""
    answers: list[Any] = field(default_factory=list)
    asking: Address | None = None
    """Where the slot is just moving to, once its primary has said so."""


def parts_of(commands: Sequence[ClusterCommand]) -> list[list[Part]]:
    """For each command, or each of its keys, the part that it is sent in."""
    found: list[list[Part]] = []
    block: Part | None = None
    for command in commands:
        if block is not None:
            block.commands.append(command)
            if block.slot is None:
                block.slot = _slot(command)
            found.append([block])
            if command[0] == "EXEC":
                block = None
        elif command[0] == "MULTI":
            block = Part([command], None)
            found.append([block])
        else:
            found.append([Part([each], _slot(each)) for each in _single(command)])
    return found


def answers_of(found: Sequence[Sequence[Part]], commands: Sequence[ClusterCommand]) -> list[Any]:
    """The answer to each command, when all parts have theirs."""
    taken: dict[int, Iterator[Any]] = {}
    answers = []
    for parts, command in zip(found, commands, strict=True):
        own = [next(taken.setdefault(id(part), iter(part.answers))) for part in parts]
        answers.append(own[0] if len(own) == 1 else _together(command, own))
    return answers


def _single(command: ClusterCommand) -> list[ClusterCommand]:
    if str(command[0]).upper() not in SEVERAL_KEYS or len(command) == 2:
        return [command]
    return [(command[0], key) for key in command[1:]]


def _together(command: ClusterCommand, answers: Sequence[Any]) -> Any:
    if errors := [answer for answer in answers if isinstance(answer, Exception)]:
        return errors[0]
    if str(command[0]).upper() == "MGET":
        return [value for (value,) in answers]
    return sum(answers)


def _slot(command: ClusterCommand) -> int | None:
    key = key_of(command)
    return None if key is None else slot_of(key)
