"""The options that hold for every frontend, unless its own say otherwise. Pure."""

from __future__ import annotations

from ..frontends.options import Options, Policy, parse_hash_key, parse_sticky
from .structs import Config


def default_options(config: Config) -> Options:
    """What the sections `balance` and `https` say for all frontends."""
    balance, https = config.balance, config.https
    return Options(
        policy=Policy(balance.policy),
        hash_key=parse_hash_key(balance.hash),
        sticky=parse_sticky(balance.sticky or "off"),
        slow_start=balance.slow_start,
        panic=balance.panic,
        redirect=https.redirect,
        hsts=https.hsts,
    )
