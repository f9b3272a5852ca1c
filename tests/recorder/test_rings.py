"""Stories in files: the last ones stay, none pushes out another kind's, a torn one ends a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.recorder import rings as module
from app.recorder.rings import HALF, MAX_LEFT, Ring, is_of, rings, stories
from app.recorder.stories import Kind, Story, Try


def story(number: int, kind: Kind = Kind.FAILED, *, text: str = "") -> Story:
    attempt = Try("http://127.0.0.1:1", "connection refused", "dead", "cause", 0.0, total=0.5)
    return Story(
        f"id{number}", kind, float(number), "GET", "http", "a.test", f"/{text}", "1.1", "",
        "127.0.0.1", "here:1", 1, "a.test", [attempt], 502, "cause", 0.5, 0, 100,
    )  # fmt: skip


def names(folder: Path, *kinds: Kind) -> list[str]:
    return [each.id for each in stories([folder], kinds or tuple(Kind))]


def test_what_is_kept_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    kept = rings(tmp_path, "/etc/hipache/config.json")
    kept[Kind.KEPT].add(story(2, Kind.KEPT))
    kept[Kind.FAILED].add(story(1))
    assert stories([tmp_path]) == [story(1), story(2, Kind.KEPT)]
    assert names(tmp_path, Kind.KEPT) == ["id2"]
    assert is_of(tmp_path, "/etc/hipache/config.json")
    assert not is_of(tmp_path, "/srv/config.json")
    assert not is_of(tmp_path / "none", "/srv/config.json")
    assert stories([tmp_path / "none"]) == []
    for ring in kept.values():
        ring.close()


def test_the_last_thousand_that_failed_are_there(tmp_path: Path) -> None:
    ring = Ring(tmp_path, Kind.FAILED, "0" * 8)
    for number in range(5000):
        ring.add(story(number, text="x" * 150))
    found = names(tmp_path)
    assert found[-1000:] == [f"id{number}" for number in range(4000, 5000)]
    files = list(tmp_path.iterdir())
    assert len(files) == 2
    assert all(file.stat().st_size <= HALF[Kind.FAILED] for file in files)
    ring.close()


def test_what_went_well_pushes_out_nothing_that_failed(tmp_path: Path) -> None:
    kept = rings(tmp_path, "")
    kept[Kind.FAILED].add(story(0))
    for number in range(1, 3000):
        kept[Kind.KEPT].add(story(number, Kind.KEPT))
        kept[Kind.REFUSED].add(story(number, Kind.REFUSED))
    assert names(tmp_path, Kind.FAILED) == ["id0"]
    for ring in kept.values():
        ring.close()


@pytest.mark.parametrize("cut", [1, 4, 30])
def test_a_story_that_is_being_written_ends_the_file(tmp_path: Path, cut: int) -> None:
    ring = Ring(tmp_path, Kind.FAILED, "0" * 8)
    ring.add(story(1))
    ring.add(story(2))
    ring.close()
    (file,) = tmp_path.iterdir()
    os.truncate(file, file.stat().st_size - cut)
    assert names(tmp_path) == ["id1"]
    file.write_bytes(b"\xff" * 100)
    assert names(tmp_path) == []


def test_where_memory_has_run_out_the_next_story_takes_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = Ring(tmp_path, Kind.FAILED, "0" * 8)
    ring.add(story(1))
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: write(file, data[:10], at))
    ring.add(story(2))
    assert names(tmp_path) == ["id1"]
    monkeypatch.undo()
    ring.add(story(3))
    assert names(tmp_path) == ["id1", "id3"]
    ring.close()


def test_files_of_ended_workers_stay_as_long_as_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.psutil, "pid_exists", lambda pid: pid == os.getpid())
    count = MAX_LEFT // (1 << 20) + 2
    for number in range(count):
        file = tmp_path / f"{2**22 + number}-00000000.failed.0"
        file.write_bytes(b"\xff" * (1 << 20))
        os.utime(file, (number, number))
    for ring in rings(tmp_path, "").values():
        ring.close()
    left = sorted(file.name for file in tmp_path.glob("*-00000000.failed.0"))
    assert left == [f"{2**22 + number}-00000000.failed.0" for number in range(2, count)]
