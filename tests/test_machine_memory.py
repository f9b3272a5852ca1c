"""What tests with file stores leave in the machine's memory."""

from __future__ import annotations

from pathlib import Path

from app.stores.file.leases import claims_of_table
from app.stores.file.uses import FileUses, uses_file
from tests.machine_memory import remove_notes_of_tables


async def test_only_the_notes_of_tables_below_the_folder_go(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine/a/routes", tmp_path / "other/routes"
    for table in (mine, other):
        table.parent.mkdir(parents=True)
        table.touch()
        await FileUses(table, lambda: {"a.test"}).note(["a.test"])
        assert claims_of_table(table).claim("it", 60.0)
    remove_notes_of_tables(tmp_path / "mine")
    for table, there in ((mine, False), (other, True)):
        for note in (uses_file(table), claims_of_table(table).path):
            assert note.exists() is there
