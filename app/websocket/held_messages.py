"""What a relay holds of messages counts against the worker's bound and the client's share."""

from __future__ import annotations

from ..config.structs import ServerConfig
from ..system.held_memory import MESSAGES, UNCOUNTED, HeldBytes

TRY_AGAIN_LATER = 1013
NO_MEMORY = "no memory is left to hold the message"


class HeldMessages:
    """A leg of a relay: what has come of messages, and was not sent on yet."""

    held: HeldBytes | None = None

    def held_size(self) -> int:
        """Bytes of it, in the parser too."""
        raise NotImplementedError

    def refuse_more(self) -> None:
        """There is no room for what is held now: end the session."""
        raise NotImplementedError

    def count_held(self) -> None:
        """Count anew, after something came or was sent on."""
        held = self.held
        if held is None:
            return
        size = max(0, self.held_size() - UNCOUNTED)
        if size != held.size and not held.resize(size):
            self.refuse_more()

    def release_held(self) -> None:
        """The leg has ended."""
        if self.held is not None:
            self.held.release()
            self.held = None


def longest_message(config: ServerConfig) -> int:
    """Bytes of a message in the relay, 0 for no limit: no client may have more of them held."""
    share = int(config.retry_memory * MESSAGES)
    return min((most for most in (config.web_socket_max_message, share) if most), default=0)
