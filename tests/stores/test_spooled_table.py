"""A table of a file, spooled: what parse_table makes of the same text, and its complaints."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.stores.spooled_table import SpooledTable, order_of
from app.stores.table import TableError
from app.stores.table_text import parse_table

BACKENDS = {"backends": ["http://a:1"]}
ALL = {"id": "x", "options": {"policy": "hash"}, "healthcheck": {"path": "/"}, "ttl": 7}


def written(folder: Path, text: str, name: str = "table.json") -> Path:
    (folder / name).write_text(text)
    return folder / name


def spooled(file: Path) -> list[str]:
    with SpooledTable(file) as table:
        table.read()
        found = list(table)
    assert dict(found) == parse_table(file.read_text(), str(file))
    return [key for key, _ in found]


def test_a_host_comes_right_before_its_prefixes(tmp_path: Path) -> None:
    table = {"b.test/a": BACKENDS, "b.test-c": BACKENDS, "b.test.d": BACKENDS, "b.test": BACKENDS}
    keys = spooled(written(tmp_path, json.dumps(table)))
    assert keys == ["b.test", "b.test/a", "b.test-c", "b.test.d"] == sorted(table, key=order_of)


@pytest.mark.parametrize("name", ["table.json", "table.toml"])
def test_all_that_is_said_comes_back(tmp_path: Path, name: str) -> None:
    text = json.dumps({"A.test.": BACKENDS | ALL, "b.test": BACKENDS})
    if name.endswith("toml"):
        text = "['A.test.']\nbackends = ['http://a:1']\noptions = { policy = 'hash' }\n"
    spooled(written(tmp_path, text, name))


def test_only_a_host_with_prefixes_can_be_without_a_list(tmp_path: Path) -> None:
    options = {"options": {"policy": "hash"}}
    table = {"a.test": options, "a.test/x": BACKENDS, "b.test": options, "b.test-x/y": BACKENDS}
    spooled(written(tmp_path, json.dumps(table)))


def test_the_last_one_of_a_name_counts(tmp_path: Path) -> None:
    one, two = json.dumps(BACKENDS), json.dumps(BACKENDS | ALL)
    spooled(written(tmp_path, f'{{"a.test": {one}, "b.test": {one}, "a.test": {two}}}'))


@pytest.mark.parametrize(
    "text",
    [
        '{"a.test": {"backends": []},\n"A.test": {"backends": []}}',
        '{"a.test": {"backends": []},\n"b": {"backends": ["http:// "]}}',
        '{"a.test": {"backends": []},\n"b": }',
        '{"a.test": {"backends": []},\n"b c": {}}',
        "[]",
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_as_of_the_whole_text(tmp_path: Path, text: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(TableError) as whole:
        parse_table(text, str(file))
    with pytest.raises(TableError) as found:
        spooled(file)
    assert str(found.value) == str(whole.value)


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("table.json", b'{"a.test": {"backends": []},\n"b\xe4.test": {}}', "line 2: no UTF-8"),
        ("table.toml", b'["a.test"]\n\nid = "\xe4"\n', "line 3: no UTF-8"),
        (
            "table.json",
            f'{{"a.test": {{}},\n"b.test": {DEEP}'.encode(),
            "line 2: nested too deeply",
        ),
        ("table.toml", f'["a.test"]\nbackends = {DEEP}'.encode(), ": nested too deeply"),
    ],
    ids=["JSON in Latin-1", "TOML in Latin-1", "deep JSON", "deep TOML"],
)
def test_what_can_be_no_table_is_refused(
    tmp_path: Path, name: str, text: bytes, complaint: str
) -> None:
    (tmp_path / name).write_bytes(text)
    with SpooledTable(tmp_path / name) as table, pytest.raises(TableError) as refused:
        table.read()
    assert f"{tmp_path / name}" in str(refused.value)
    assert complaint in str(refused.value)


def test_what_comes_from_a_pipe_is_refused_in_the_same_words(tmp_path: Path) -> None:
    text, pipe = '{"a.test": {"backends": []},\n"b": }', tmp_path / "table.json"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as writing, SpooledTable(pipe) as table:
        written = writing.submit(pipe.write_text, text)
        with pytest.raises(TableError, match=r"table\.json line 2: Expecting value"):
            table.read()
        assert written.result() == len(text)
