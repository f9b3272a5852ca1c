"""Whether certificates can be ordered here: the libraries are an extra."""

from __future__ import annotations

from importlib.util import find_spec

from ...config.messages import fault
from ...config.structs import Config


def check_installed(config: Config) -> None:
    """Raises ConfigError if `https.acme` is on and its libraries are not installed."""
    if config.https.acme.agree and not all(map(find_spec, ("acme", "josepy"))):
        problem = "it needs certbot's libraries: pip install 'hipache[acme]'"
        raise fault(config.source, "https.acme", problem)
