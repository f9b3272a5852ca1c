"""The options that hold for every frontend, unless its own say otherwise. Pure."""

from __future__ import annotations

from ..frontends.options import Options
from .structs import Config


def default_options(config: Config) -> Options:
    """What the sections `balance` and `https` say for all frontends."""
    balance, https = config.balance, config.https
    return Options(
        policy=balance.policy.value,
        hash_key=balance.hash.value,
        sticky=balance.sticky.value if balance.sticky else None,
        slow_start=balance.slow_start,
        panic=balance.panic,
        wake_timeout=balance.wake_timeout,
        redirect=https.redirect,
        hsts=https.hsts,
    )
