"""What `hipache doctor` learns about a store: facts, without a judgement. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import HipacheError
from ..routing import NO_OPTIONS, Frontend, Mark
from .table import Table
from .table_sites import prefixes_by_host


class Remedy(NamedTuple):
    """What an operator can do."""

    command: str
    """Empty where there is none."""
    advice: str


@dataclass(frozen=True, slots=True)
class Listed:
    """One list of the store, as it is."""

    rows: Sequence[str]
    options: Mapping[str, str] = field(default_factory=lambda: NO_OPTIONS)
    ttl: int | None = None
    """Seconds until it disappears."""


@dataclass(frozen=True, slots=True)
class MarksFound:
    """What stands under one key of marks."""

    frontend: Frontend | None
    """The frontend that serves that key: its own, or a wildcard's."""
    ids: Sequence[str]
    """Of `dead:<key>`."""
    marks: Mapping[str, Mark]
    """What stands there, by this machine's clock."""
    lasts: Mapping[str, float] = field(default_factory=dict)
    """Seconds for which a mark was meant, by URL; 0 where its writer did not say."""


class WrongType(NamedTuple):
    """A key that holds another type than its name promises."""

    name: str
    found: str
    expected: str


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One Redis or Valkey, as it describes itself."""

    name: str
    alone: bool
    """No other server of the configuration takes the writes."""
    info: Mapping[str, str]
    """Its answer to INFO."""
    clock: tuple[float, float]
    """The time there and the time here, at one moment, in Unix seconds."""
    save: str | None = None
    """Its setting `save`; None where it does not tell."""
    coverage: str | None = None
    """Its setting `cluster-require-full-coverage`; None outside a cluster, too."""
    ping: tuple[str, bool] | None = None
    """The last sign of life of an active checker, and whether it was ours."""


@dataclass(slots=True)
class Inspection:
    """What is in one store, or a part of it: each key is in one part, mostly."""

    prefix: str = ""
    """What goes before every key."""
    tagged: bool = False
    """The host in the names of frontends' keys stands in braces."""
    commands: bool = False
    """`hipache redis` can mend what is wrong."""
    servers: list[ServerFacts] = field(default_factory=list)
    """The first one was read from."""
    primary_away: tuple[str, HipacheError] | None = None
    """The name of the server that takes the writes, and why it cannot be read."""
    frontends: dict[str, Listed] = field(default_factory=dict)
    paths: dict[str, Sequence[str]] = field(default_factory=dict)
    """The prefixes of hosts that have any, by the host's key."""
    unnamed: list[str] = field(default_factory=list)
    """Frontends of prefixes that the set of their host does not name."""
    there: set[str] = field(default_factory=set)
    """Keys that have a list, of those that anything in this part refers to."""
    marks: dict[str, MarksFound] = field(default_factory=dict)
    orphans: list[tuple[str, str]] = field(default_factory=list)
    """Settings of frontends that do not exist: `options` or `healthcheck`, and the key."""
    certificates: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Certificate and private key in PEM form, by name."""
    wrong_types: list[WrongType] = field(default_factory=list)
    looked: int = 0
    """Keys of the store that were looked at for this part."""
    total: int = 0
    """All keys of the store, in its first part; 0 where that is not known."""

    @classmethod
    def of_table(cls, table: Table) -> Inspection:
        """Of a store that holds frontends and nothing else."""
        lists = {k: Listed(e.rows, e.options, e.ttl) for k, e in table.items() if e.listed}
        return cls(
            frontends=lists,
            there=set(lists),
            paths={host: sorted(found) for host, found in prefixes_by_host(table).items()},
        )
