"""All rows, by their groups."""

from __future__ import annotations

from tests.conformance.http2.answers import ANSWERING
from tests.conformance.http2.case import Case
from tests.conformance.http2.compression import COMPRESSION
from tests.conformance.http2.floods import FLOODS
from tests.conformance.http2.framing import FRAMING
from tests.conformance.http2.requests import REQUESTS
from tests.conformance.http2.states import STATES

GROUPS = (*FRAMING, *STATES, *COMPRESSION, *REQUESTS, *ANSWERING, *FLOODS)
CASES: list[Case] = [case for group in GROUPS for case in group()]
