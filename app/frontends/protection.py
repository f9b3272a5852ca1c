"""What a frontend may say about access: the guards' fields of `options:<host>`. Pure.

    allow, deny          networks, as 10.0.0.0/8 192.0.2.7; deny wins
    basicAuth            USER:HASH, several with spaces between
    forwardAuth          URL that is asked whether a request may pass
    forwardAuthTimeout   seconds
    forwardAuthCopy      names of fields that go from its answer into the request
    rateLimit            10/s, 600/m burst 20, off
    maxInFlight          requests at once, per worker; 0 is no limit
    maintenance…         in `maintenance`

The first four may be `off`, for a prefix that does not want its host's.
All but the last three decide about access. If a mistake in one of them or in its name were
ignored, as in a balancing option, the site would be open to all; so the proxy denies access.
A mistake in a limit only removes the limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from ..fields.names import FORWARDED, HOP_BY_HOP, as_read
from ..fields.networks import Networks
from .maintenance import Maintenance, is_off, parse_message, parse_pause, parse_retry
from .option_names import ACCESS, LIMITS, MAINTENANCE, UNREADABLE, meant_by, no_option
from .passwords import PasswordHash, parse_hash
from .rates import Rate, parse_rate
from .services import Service, parse_service

SHUT = "; nobody may enter"
"""The end of a sentence about an option that shuts the frontend."""

MAX_IN_FLIGHT = 1_000_000
MAX_TIMEOUT = 60.0

NOWHERE = Networks()

_MAY_BE_OFF = ("allow", "deny", "basicAuth", "forwardAuth")
"""A prefix may do without what its host asks for, if it says so."""

_SEPARATED = re.compile(r"[,\s]+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_NEVER_COPIED = HOP_BY_HOP | FORWARDED | {b"content-length", b"host", b"via", b"cdn-loop"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """What a request has to pass before it reaches a backend."""

    allow: Networks | None = None
    """None allows every address that is not in `deny`."""
    deny: Networks = NOWHERE
    users: Mapping[str, PasswordHash] = field(default_factory=lambda: MappingProxyType({}))
    forward_auth: Service | None = None
    forward_timeout: float = 5.0
    """Seconds for the answer as a whole."""
    forward_copy: tuple[bytes, ...] = ()
    """Fields of the answer that go into the request, in lower case."""
    rate: Rate | None = None
    max_in_flight: int = 0
    maintenance: Maintenance | None = None
    pause: int = 0
    """Seconds that a request waits at most for the site to go on; 0: it is not paused."""
    unreadable: str = ""
    """Why access is denied: the first access option that cannot be understood."""
    unreadable_option: str = ""
    """Its name, or the name that was meant; empty where no option could be read at all."""

    def lets_in(self, address: str) -> bool:
        """Whether the networks allow this address."""
        if self.deny.match(address):
            return False
        return self.allow is None or self.allow.match(address)

    def in_words(self) -> Iterator[str]:
        """Each guard, in the order in which they are asked, without a secret."""
        if self.unreadable:
            yield f"nobody may enter: {self.unreadable}"
        if self.maintenance is not None:
            yield self.maintenance.in_words()
        elif self.pause:
            yield f"paused: requests wait up to {self.pause} s for the site to go on"
        if self.deny:
            yield f"not from {' '.join(map(str, self.deny))}"
        if self.allow is not None:
            yield f"only from {' '.join(map(str, self.allow))}"
        if self.max_in_flight:
            yield f"at most {self.max_in_flight} at once in each worker"
        if (rate := self.rate) is not None:
            yield f"{rate.burst} at once from one client, then one every {rate.interval:g} s"
        if self.users:
            yield f"with the password of {' or '.join(self.users)}"
        if self.forward_auth is not None:
            yield f"if {self.forward_auth.shown} says so within {self.forward_timeout:g} s"


def parse_protection(raw: Mapping[str, str]) -> tuple[Protection | None, tuple[str, ...]]:
    """The guards' fields among `raw`, and one sentence for each that cannot be used.

    None if there is nothing to guard.
    """
    values: dict[str, str] = {}
    shut: list[tuple[str, str]] = []  # the option, and what is wrong with it
    problems: list[str] = []
    for name, value in raw.items():
        if name == UNREADABLE:
            shut.append(("", value))
        elif name in (*ACCESS, *LIMITS, *MAINTENANCE):
            values[name] = value
        elif (meant := meant_by(name.partition(":")[0])) in ACCESS:
            shut.append((meant or "", no_option(name, meant)))
    protection = Protection()
    for name, value in values.items():
        try:
            protection = _with_field(protection, name, value)
        except ValueError as exc:  # which quotes no secret
            if name in ACCESS:
                shut.append((name, f"{name}: {exc}"))
            else:
                problems.append(f"{name}: {exc}")
    if is_off(values.get("maintenance", "off")):  # the other two say what would hold
        protection = replace(protection, maintenance=None)
    if "forwardAuth" not in values and {"forwardAuthCopy", "forwardAuthTimeout"} & values.keys():
        shut.append(("forwardAuth", "forwardAuth: expected a URL, for there is more about it"))
    if shut:
        protection = replace(protection, unreadable_option=shut[0][0], unreadable=shut[0][1])
    told = (*(problem + SHUT for _, problem in shut), *problems)
    return (None if protection == Protection() else protection), told


def _with_field(protection: Protection, name: str, value: str) -> Protection:
    if value == "off" and name in _MAY_BE_OFF:
        return protection
    match name:
        case "allow":
            return replace(protection, allow=_networks(value))
        case "deny":
            return replace(protection, deny=_networks(value))
        case "basicAuth":
            return replace(protection, users=_users(value))
        case "forwardAuth":
            return replace(protection, forward_auth=parse_service(value))
        case "forwardAuthTimeout":
            return replace(protection, forward_timeout=_timeout(value))
        case "forwardAuthCopy":
            return replace(protection, forward_copy=_copied(value))
        case "rateLimit":
            return replace(protection, rate=parse_rate(value))
        case "maintenance" | "maintenanceRetry" | "maintenanceAllow":
            return replace(protection, maintenance=_maintenance(protection, name, value))
        case "pause":
            return replace(protection, pause=parse_pause(value))
        case _:
            return replace(protection, max_in_flight=_count(value))


def _maintenance(protection: Protection, name: str, value: str) -> Maintenance:
    known = protection.maintenance or Maintenance()
    match name:
        case "maintenanceRetry":
            return replace(known, retry_after=parse_retry(value))
        case "maintenanceAllow":
            return replace(known, allow=_networks(value))
        case _:
            return replace(known, message=parse_message(value))


def _networks(value: str) -> Networks:
    ranges = [part for part in _SEPARATED.split(value) if part]
    if not ranges:
        raise ValueError("expected networks, as in 10.0.0.0/8 192.0.2.7")
    networks = Networks.parse(ranges)
    if any(n.version == 6 and n.network_address.ipv4_mapped is not None for n in networks):
        raise ValueError("expected IPv4 networks as such, not as ::ffff:")
    return networks


def _users(value: str) -> Mapping[str, PasswordHash]:
    users: dict[str, PasswordHash] = {}
    for part in value.split():
        user, colon, text = part.rpartition(":")
        if not colon or not user or ":" in user or "$" in user:
            raise ValueError("expected USER:HASH, as 'hipache password USER' prints it")
        users[user] = parse_hash(text)
    if not users:
        raise ValueError("expected USER:HASH, as 'hipache password USER' prints it")
    return MappingProxyType(users)


def _timeout(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MAX_TIMEOUT:
        raise ValueError(f"expected seconds up to {MAX_TIMEOUT:.0f}")
    return seconds


def _copied(value: str) -> tuple[bytes, ...]:
    names = [part for part in _SEPARATED.split(value) if part]
    if not names or not all(_TOKEN.fullmatch(name) for name in names):
        raise ValueError("expected names of fields, as in X-User X-Groups")
    lower = tuple(name.lower().encode("ascii") for name in names)
    if _NEVER_COPIED & set(map(as_read, lower)):
        raise ValueError("a field that frames or routes the request, or is ours, cannot be copied")
    return lower


def _count(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,7}", value) or int(value) > MAX_IN_FLIGHT:
        raise ValueError(f"expected a whole number up to {MAX_IN_FLIGHT}")
    return int(value)
