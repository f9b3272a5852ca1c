"""What is wrong with a configuration, in one line: file, key, what was expected and found.

Nothing here puts a password into a message, nor a line break.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

import msgspec
from msgspec import inspect

from ..errors import ConfigError
from ..masking import SECRET_KEYS, printable, show
from .durations import seconds

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}

T = TypeVar("T", bound=msgspec.Struct)

_STRING_OR_COMMENT = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*')


class Origins(dict[str, str]):
    """Where a key was really written, if under an older name: key path -> older path."""

    def of(self, path: str) -> str:
        """`path` as the reader of the file knows it."""
        for new, old in self.items():
            if path == new or path.startswith((f"{new}.", f"{new}[")):
                return old + path[len(new) :]
        return path


def fault(source: str, path: str, problem: str) -> ConfigError:
    """One printable line, whatever the file's own text contains."""
    line = f"{source}: {path}: {problem}" if path else f"{source}: {problem}"
    return ConfigError(printable(line))


def without_comments(text: str) -> str:
    """`text` with blanks for what stands behind `//`; lines and columns stay.

    >>> without_comments('{"a": "http://b"} // c')
    '{"a": "http://b"}     '
    """
    return _STRING_OR_COMMENT.sub(
        lambda found: " " * len(found[0]) if found[0].startswith("/") else found[0], text
    )


def read_json(text: str, source: str) -> dict[str, Any]:
    """The object that `text` holds: JSON, with comments from `//` to the end of the line.

    Raises ConfigError with line and column if it is none.
    """

    def no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            names = [name for name, _ in pairs]
            repeated = next(name for name in names if names.count(name) > 1)
            raise fault(source, repeated, "this key stands twice in one object")
        return values

    def no_constant(name: str) -> NoReturn:
        raise fault(source, "", f"{name} is not JSON")

    try:
        # A byte order mark is what some editors put before the first brace.
        value = json.loads(
            without_comments(text.removeprefix("\ufeff")),
            object_pairs_hook=no_repeats,
            parse_constant=no_constant,
        )
    except json.JSONDecodeError as exc:
        raise fault(
            source, "", f"not JSON: {exc.msg} at line {exc.lineno}, column {exc.colno}"
        ) from None
    except RecursionError:
        raise fault(source, "", "not a configuration: nested too deeply") from None
    except ValueError:  # Python refuses integers of more than 4300 digits
        raise fault(source, "", "not a configuration: a number is too long") from None
    if not isinstance(value, dict):
        raise fault(source, "", f"expected an object, found {show(value)}")
    return value


def convert(
    raw: dict[str, Any],
    kind: type[T],
    *,
    source: str,
    origins: Origins,
    hook: Callable[[type, Any], Any],
    old_names: Iterable[str] = (),
    not_offered: Mapping[str, str] = MappingProxyType({}),
) -> T:
    """`raw` as a `kind`. Raises ConfigError at the first key that does not fit.

    `not_offered`: what to say of keys that exist elsewhere, but not here.
    """
    info = _shape_of(kind)
    for path in _unknown_paths(info, raw, ""):
        if why := not_offered.get(path.rpartition(".")[2]):
            raise fault(source, origins.of(path), why)
        known = [*_known_paths(info, ""), *old_names]
        raise fault(source, origins.of(path), f"unknown key{_did_you_mean(path, known)}")
    try:
        return msgspec.convert(_in_seconds(info, raw), kind, dec_hook=hook)
    except msgspec.ValidationError as exc:
        # "Expected `int | null`, got `str` - at `$.server.workers`"; the last two parts may lack
        text, _, path = str(exc).partition(" - at `$")
        path = path.rstrip("`").removeprefix(".")
        expected = text.partition(", got `")[0]
        raise fault(source, origins.of(path), _problem(expected, raw, path)) from None
    except UnicodeEncodeError as exc:  # JSON can write it, and so can the environment
        half = exc.object[exc.start]
        raise fault(source, "", f"a string holds {half}, which is half a character") from None


@cache
def _shape_of(kind: type) -> inspect.Type:
    """The keys of a `kind` and what they may be: 6 ms of work, 40 KB."""
    return inspect.type_info(kind)


def _problem(expected: str, raw: dict[str, Any], path: str) -> str:
    if missing := re.match(r"Object missing required field `(.*)`", expected):
        return f"expected a key {missing[1]}"
    words = re.sub(
        r"`([^`]*)`",
        lambda types: " or ".join(_KINDS.get(kind, kind) for kind in types[1].split(" | ")),
        expected,
    )
    if words == "Expected an object" and re.search(r"bind\[\d+\]\Z", path):
        words = "expected an address or an object"
    if not words.lower().startswith("expected"):
        return words  # it names what was found
    if words in {"Expected a number", "Expected a number or null"}:
        words = words.replace("a number", 'a number of seconds, or a time such as "10m"')
    found = "a secret of another kind" if _is_secret(path) else show(look_up(raw, path))
    return f"{words[:1].lower()}{words[1:]}, found {found}"


def _did_you_mean(path: str, known: list[str]) -> str:
    """The nearest key that exists: in the same section, else anywhere."""
    section, _, name = re.sub(r"\[\d+\]", "[]", path).rpartition(".")
    here = [other for other in known if other.rpartition(".")[0] == section]
    for paths in (here, known):
        names = {other.rpartition(".")[2].lower(): other for other in reversed(paths)}
        if near := get_close_matches(name.lower(), names, n=1):
            return f"; did you mean {names[near[0]]}?"
    return ""


def _section(info: inspect.Type) -> inspect.Type:
    """The object itself, for one that may also be null."""
    if isinstance(info, inspect.UnionType):
        return next((t for t in info.types if isinstance(t, inspect.StructType)), info)
    return info


def _fields(info: inspect.Type) -> Iterator[tuple[str, inspect.Type]]:
    if isinstance(info, inspect.StructType):
        for field in info.fields:
            yield field.encode_name, field.type


def _known_paths(info: inspect.Type, path: str) -> Iterator[str]:
    if isinstance(info, inspect.VarTupleType):
        yield from _known_paths(info.item_type, f"{path}[]")
    for name, kind in _fields(_section(info)):
        yield (below := f"{path}.{name}".removeprefix("."))
        yield from _known_paths(kind, below)


def _unknown_paths(info: inspect.Type, value: Any, path: str) -> Iterator[str]:
    info = _section(info)
    if isinstance(info, inspect.VarTupleType) and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown_paths(info.item_type, item, f"{path}[{index}]")
    if isinstance(info, inspect.StructType) and isinstance(value, dict):
        fields = dict(_fields(info))
        for name, item in value.items():
            below = f"{path}.{name}".removeprefix(".")
            if name not in fields:
                yield below
            else:
                yield from _unknown_paths(fields[name], item, below)


def _in_seconds(info: inspect.Type, value: Any) -> Any:
    """`value` with a number for each time in it, such as "10m": what may have a fraction is one."""
    kinds = [*info.types] if isinstance(info, inspect.UnionType) else [info]
    if isinstance(value, str):
        times = {type(kind) for kind in kinds} <= {inspect.FloatType, inspect.NoneType}
        number = seconds(value) if times else None
        return value if number is None else number
    for kind in kinds:
        if isinstance(kind, inspect.VarTupleType) and isinstance(value, list):
            return [_in_seconds(kind.item_type, item) for item in value]
        if isinstance(kind, inspect.StructType) and isinstance(value, dict):
            known = dict(_fields(kind))
            return {name: _in_seconds(known[name], item) for name, item in value.items()}
    return value


def look_up(raw: Any, path: str) -> Any:
    """The value at `path` ("http.bind[0].port"), or None."""
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        if isinstance(raw, dict):
            raw = raw.get(name)
        elif isinstance(raw, list) and index and int(index) < len(raw):
            raw = raw[int(index)]
        else:
            return None
    return raw


def _is_secret(path: str) -> bool:
    return any(name in SECRET_KEYS for name in re.findall(r"[^.\[\]]+", path))
