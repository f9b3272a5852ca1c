"""The streams to one origin that are free, the one used last at the right."""

from __future__ import annotations

from collections import deque

from .backend_stream import BackendStream


class FreeStreams(deque[BackendStream]):
    """Streams that no request has. Their connections may be closed already."""

    def drop_lost(self) -> None:
        """Forget those whose connection is gone."""
        for stream in tuple(self):
            if not stream.is_available():
                self.remove(stream)

    def drop_closed(self) -> None:
        """Ask the kernel for each, and end those whose backend has closed."""
        for stream in tuple(self):
            if not is_fit(stream, checked=True):
                self.remove(stream)
                stream.abort()


def is_fit(stream: BackendStream, checked: bool) -> bool:
    """Whether a request may be written to it; with `checked` the kernel is asked too."""
    return stream.is_available() and not (checked and stream.hung_up())
