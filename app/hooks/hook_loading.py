"""Finds the module that `server.hooks` names, and what it defines."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ..config.structs import Config
from ..errors import ConfigError

Hook = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Hooks:
    """The functions that the module defines; None for each that it does not."""

    on_request: Hook | None = None
    on_route: Hook | None = None
    on_response: Hook | None = None
    on_dead: Hook | None = None
    on_end: Hook | None = None


NO_HOOKS = Hooks()


def load_hooks(config: Config) -> Hooks:
    """The hooks of `server.hooks`, none where it names nothing. Raises ConfigError.

    The module is imported once for each process. SIGHUP starts new workers, and so loads it anew.
    """
    name = config.server.hooks
    if name is None:
        return NO_HOOKS
    try:
        module = _imported(name, config.places.folder)
    except BaseException as error:  # SystemExit, too: it is the user's own code
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ConfigError(f"{config.source}: server.hooks: {name}: {told(error)}") from error
    try:
        return _defined(module)
    except ValueError as error:
        raise ConfigError(f"{config.source}: server.hooks: {name}: {error}") from None


def _imported(name: str, folder: str) -> ModuleType:
    # Behind all others: a file beside the configuration must not hide a library's.
    if folder and folder not in sys.path:
        sys.path.append(folder)
    # A compiled file of the same second and size would hide an edit from the next SIGHUP.
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        importlib.invalidate_caches()
        return importlib.import_module(name)
    finally:
        sys.dont_write_bytecode = written


def _defined(module: ModuleType) -> Hooks:
    """Raises ValueError for what cannot be a hook."""
    found = {name: value for name, value in vars(module).items() if name.startswith("on_")}
    known = {name: value for name, value in found.items() if name in Hooks.__slots__}
    mine = (name for name in found if getattr(found[name], "__module__", "") == module.__name__)
    if unknown := sorted(set(mine) - set(known)):
        raise ValueError(f"{unknown[0]} is no hook; there are {', '.join(Hooks.__slots__)}")
    for name, value in known.items():
        if not callable(value):
            raise ValueError(f"{name} is not a function")
    if not known:
        raise ValueError(f"it defines none of {', '.join(Hooks.__slots__)}")
    return Hooks(**known)


def told(error: BaseException) -> str:
    """What went wrong in a user's code, and in which line: one line for people."""
    said = f"{type(error).__name__}: {error}".replace("\n", " ")
    frames = [each for each in traceback.extract_tb(error.__traceback__) if _is_users(each)]
    if isinstance(error, SyntaxError) or not frames:
        return said
    return f"{said} ({frames[-1].filename}, line {frames[-1].lineno})"


def _is_users(frame: traceback.FrameSummary) -> bool:
    return "importlib" not in frame.filename and frame.filename != __file__
