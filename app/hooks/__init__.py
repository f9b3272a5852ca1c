"""Hooks in Python: what a module that `server.hooks` names may import.

    from hipache.hooks import Answer, Request

`docs/hooks.md` has the functions that such a module may define, with examples.
"""

from ..routing import Route
from .hook_views import HookAnswer as Answer
from .hook_views import HookEnd as End
from .hook_views import HookRequest as Request
from .hook_views import HookResponse as Response
from .preferring import prefer

__all__ = ["Answer", "End", "Request", "Response", "Route", "prefer"]
