"""The cache's folders, and files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from graftwork.cache import cache_folder, write_once


def test_the_cache_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "here"))
    assert cache_folder("tables") == tmp_path / "here" / "tables"
    assert cache_folder("tables").is_dir()
    monkeypatch.delenv("GRAFTWORK_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("tables") == tmp_path / ".cache" / "graftwork" / "tables"


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "x"

    def half(path: Path) -> None:
        path.write_text("ha")
        assert not target.exists()
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write_once(target, half)
    assert list(tmp_path.iterdir()) == []

    def whole(path: Path) -> None:
        path.write_text("whole")

    write_once(target, whole)
    assert target.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]
