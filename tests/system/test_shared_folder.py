"""The folder that the workers of one service share."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from app.system import shared_folder
from app.system.shared_folder import (
    edit_numbers,
    open_own,
    service_folder,
    service_folders,
    shared_by_workers,
)


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shared_folder, "memory_folder", lambda: tmp_path)
    return tmp_path


def test_a_folder_of_a_process_that_is_gone_is_removed(base: Path) -> None:
    stale = base / f"hipache-{os.geteuid()}-{os.getpid()}-1"
    stale.mkdir()
    (base / f"hipache-{os.geteuid()}-x").mkdir()
    ours = service_folder(os.getpid())
    assert ours.parent == base
    assert (ours.exists(), stale.exists(), service_folder(os.getpid())) == (True, False, ours)
    assert service_folders() == [ours]


def test_a_folder_that_another_user_made_is_not_used(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    with suppress(PermissionError):  # made by us, in the stranger's name
        service_folder(os.getpid())
    with pytest.raises(PermissionError):
        service_folder(os.getpid())


def test_a_worker_that_is_alone_takes_its_folder_along() -> None:
    with shared_by_workers(None) as folder:
        assert folder is not None
        assert folder.is_dir()
    assert not folder.exists()
    with shared_by_workers(os.getpid()) as folder:
        assert folder is not None
    assert folder.is_dir()  # of the supervisor


def test_where_there_can_be_none_that_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shared_folder, "memory_folder", lambda: Path("/nowhere"))
    with shared_by_workers(None) as folder:
        assert folder is None
    assert "no request is recorded" in caplog.text


def test_a_file_that_another_user_made_is_not_used(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.close(open_own(base / "file"))
    assert (base / "file").stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(os, "geteuid", lambda: -1)
    with pytest.raises(PermissionError):
        open_own(base / "file")


@pytest.mark.parametrize(
    ("before", "found"),
    [
        (b"", {}),
        (b'{"a": 1, "long": 123456789}', {"a": 1.0, "long": 123456789.0}),
        (b'{"a": 1, "b": "x"}', {"a": 1.0}),
        (b'{"a": 1', {}),
        (b"[1]", {}),
    ],
)
def test_numbers_are_changed_in_their_file(
    base: Path, before: bytes, found: dict[str, float]
) -> None:
    (base / "file").write_bytes(before)
    seen = []
    edit_numbers(base / "file", seen.append)
    assert (base / "file").read_bytes() == before
    edit_numbers(base / "file", lambda numbers: {"c": 2.0})
    assert (base / "file").read_bytes() == b'{"c": 2.0}'
    assert seen == [found]
