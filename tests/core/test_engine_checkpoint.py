"""Checkpoints: a valid one exists at every moment, a damaged one is refused by its checksum, and writing is durable."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from graftwork import RunFailed
from graftwork.engine.checkpoint import CheckpointStore


def store_with(folder: Path, *steps: int) -> CheckpointStore:
    store = CheckpointStore(folder)
    for step in steps:
        best = store.save_best(step, {"w": torch.full((4,), float(step))})
        store.save(step, {"w": torch.full((4,), float(step))}, {"step": step, "best_file": best})
    return store


def flip_a_bit(path: Path, where: int = -3) -> None:
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)


def the_file(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def test_the_newest_checkpoint_is_read_back_as_it_was(tmp_path: Path, said: list[str]) -> None:
    store = store_with(tmp_path, 3, 20, 100)
    checkpoint = store.load()
    assert checkpoint is not None and checkpoint.meta["step"] == 100 and said == []
    assert torch.equal(checkpoint.tensors["w"], torch.full((4,), 100.0))
    assert torch.equal(store.load_best(checkpoint.meta["best_file"])["w"], torch.full((4,), 100.0))


def test_two_checkpoints_and_their_best_weights_are_kept(tmp_path: Path) -> None:
    store_with(tmp_path, 1, 2, 3, 4)
    names = sorted(path.name.partition(".")[0] for path in tmp_path.iterdir())
    assert names == ["best-000000003", "best-000000004", "step-000000003", "step-000000004"]


def test_best_weights_of_long_ago_stay_as_long_as_a_checkpoint_needs_them(tmp_path: Path) -> None:
    store = store_with(tmp_path, 1)
    best = the_file(tmp_path, "best-*").name
    for step in (2, 3, 4):
        store.save(step, {"w": torch.zeros(1)}, {"step": step, "best_file": best})
    assert (tmp_path / best).is_file()


@pytest.mark.parametrize("where", [0, 9, 100, -1])
def test_a_flipped_bit_is_refused_with_a_line_and_the_one_before_is_used(
    where: int, tmp_path: Path, said: list[str]
) -> None:
    store = store_with(tmp_path, 5, 6)
    damaged = the_file(tmp_path, "step-000000006*")
    flip_a_bit(damaged, where)
    checkpoint = store.load()
    assert checkpoint is not None and checkpoint.meta["step"] == 5
    assert said == [f"{damaged} is damaged (its checksum does not match): using the one before"]


def test_a_truncated_checkpoint_is_refused_too(tmp_path: Path, said: list[str]) -> None:
    store = store_with(tmp_path, 5, 6)
    newest = the_file(tmp_path, "step-000000006*")
    newest.write_bytes(newest.read_bytes()[:100])
    checkpoint = store.load()
    assert checkpoint is not None and checkpoint.meta["step"] == 5 and len(said) == 1


def test_two_damaged_checkpoints_are_one_clear_error(tmp_path: Path, said: list[str]) -> None:
    store = store_with(tmp_path, 5, 6)
    for path in tmp_path.glob("step-*"):
        flip_a_bit(path)
    with pytest.raises(RunFailed, match=r"every checkpoint is damaged\. Delete the folder"):
        store.load()
    assert len(said) == 2


def test_a_checkpoint_whose_best_weights_are_damaged_is_passed_over(tmp_path: Path, said: list[str]) -> None:
    store = store_with(tmp_path, 5, 6)
    flip_a_bit(the_file(tmp_path, "best-000000006*"))
    checkpoint = store.load()
    assert checkpoint is not None and checkpoint.meta["step"] == 5
    assert "best-000000006" in said[0]
    with pytest.raises(RunFailed, match="best weights are missing or damaged"):
        store.load_best(the_file(tmp_path, "best-000000006*").name)


def test_a_damaged_checkpoint_does_not_stop_the_next_one_from_being_written(tmp_path: Path) -> None:
    store = store_with(tmp_path, 5, 6)
    flip_a_bit(the_file(tmp_path, "step-000000006*"), 9)
    store.save(7, {"w": torch.ones(1)}, {"step": 7, "best_file": None})
    checkpoint = store.load()
    assert checkpoint is not None and checkpoint.meta["step"] == 7


def test_left_overs_of_a_kill_are_no_checkpoints_and_are_swept_away(tmp_path: Path) -> None:
    store = store_with(tmp_path, 5)
    (tmp_path / ".step-000000009.tmp").write_bytes(b"half")
    (tmp_path / "step-000000010.safetensors").write_bytes(b"no checksum in the name")
    checkpoint = store.load()
    assert checkpoint is not None and checkpoint.meta["step"] == 5
    store.save(6, {"w": torch.ones(1)}, {"step": 6})
    assert not (tmp_path / ".step-000000009.tmp").exists()


def test_nothing_saved_is_none_and_a_cleared_store_leaves_no_folder(tmp_path: Path) -> None:
    store = store_with(tmp_path / "checkpoints")
    assert store.load() is None
    store.save(1, {"w": torch.ones(1)}, {"step": 1})
    store.clear()
    assert not (tmp_path / "checkpoints").exists()


def recorded(patch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """Every call that decides about durability, in order."""
    calls: list[str] = []
    fsync, rename, unlink = os.fsync, Path.rename, Path.unlink

    def kind(descriptor: int) -> str:
        target = Path(f"/proc/self/fd/{descriptor}").resolve()
        if target == folder.resolve():
            return "fsync folder"
        # Everything must have left the process's own buffer by now: the size on disk is the whole file's.
        return f"fsync file of {target.stat().st_size}"

    def noted_fsync(descriptor: int) -> None:
        calls.append(kind(descriptor))
        fsync(descriptor)

    def noted_rename(self: Path, target: Any) -> Path:
        calls.append(f"rename {self.name[-4:]} of {self.stat().st_size}")
        return rename(self, target)

    def noted_unlink(self: Path, missing_ok: bool = False) -> None:
        calls.append(f"unlink {self.name[:14]}")
        unlink(self, missing_ok=missing_ok)

    patch.setattr(os, "fsync", noted_fsync)
    patch.setattr(Path, "rename", noted_rename)
    patch.setattr(Path, "unlink", noted_unlink)
    return calls


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to see which file a descriptor is")
def test_a_checkpoint_is_written_flushed_fsynced_renamed_and_only_then_are_older_ones_removed(tmp_path: Path) -> None:
    store = store_with(tmp_path, 1, 2)
    with pytest.MonkeyPatch.context() as patch:
        calls = recorded(patch, tmp_path)
        path = store.save(3, {"w": torch.zeros(5000)}, {"step": 3, "best_file": None})
    size = path.stat().st_size
    assert calls == [
        f"fsync file of {size}",
        f"rename .tmp of {size}",
        "fsync folder",
        "unlink step-000000001",
        "unlink best-000000001",
    ]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_failure_at_any_point_of_writing_leaves_the_checkpoint_before(call: str, number: int, tmp_path: Path) -> None:
    store = store_with(tmp_path, 1)

    def fail(*arguments: Any) -> Any:
        raise OSError(number, os.strerror(number))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*((os, "fsync", fail) if call == "fsync" else (Path, "rename", fail)))
        expected = "no space left on the device" if number == errno.ENOSPC else "cannot be written"
        with pytest.raises(RunFailed, match=expected):
            store.save(2, {"w": torch.zeros(5)}, {"step": 2, "best_file": None})
    assert not list(tmp_path.glob(".*.tmp"))
    checkpoint = store.load()
    assert checkpoint is not None and checkpoint.meta["step"] == 1
