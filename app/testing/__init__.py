"""Tests of one's own routes: a proxy in the test's process, with a store of a dictionary.

The pytest plugin (`plugin.py`) has it as the fixture `hipache_proxy`. docs/testing.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .dict_routes import DictRoutes
    from .loopback_backend import LoopbackBackend, Seen
    from .served_proxy import FixedChance, ServedProxy, StoppedClock, config_for_tests

__all__ = [
    "DictRoutes",
    "FixedChance",
    "LoopbackBackend",
    "Seen",
    "ServedProxy",
    "StoppedClock",
    "config_for_tests",
]


def __getattr__(name: str) -> object:
    # Late: pytest imports this package in every project of the environment.
    if name in __all__:
        for module in ("dict_routes", "loopback_backend", "served_proxy"):
            if name in vars(part := import_module(f".{module}", __name__)):
                return vars(part)[name]
    raise AttributeError(name)
