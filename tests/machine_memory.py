"""What file stores leave in the machine's memory, found again by the paths of their tables."""

from __future__ import annotations

import os
from pathlib import Path

from app.stores.file.leases import claims_of_table
from app.stores.file.uses import uses_file
from app.system.shared_folder import memory_folder


def remove_notes_of_tables(folder: Path) -> None:
    """Remove the notes of all tables below `folder`, and nobody else's.

    They outlive a proxy by design, and tests that run beside these have theirs in the same place.
    """
    there = {path.name for path in memory_folder().glob("hipache-*")}
    for place, _, names in os.walk(folder):
        for name in names:
            table = Path(place, name)
            for note in (uses_file(table), claims_of_table(table).path):
                if note.name in there:
                    note.unlink(missing_ok=True)
