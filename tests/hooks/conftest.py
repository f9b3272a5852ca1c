"""What the tests of hooks share."""

from tests.hooks.modules import write_hooks

__all__ = ["write_hooks"]
