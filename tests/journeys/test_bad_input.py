"""Bad input ends with exactly one clear line on stderr, no traceback, and the right exit code."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Graft = Callable[..., Any]
Trained = tuple[Path, dict[str, Any], str]
TASK = ("--task", "image-classification")
QUICK = ("--backbone", "squeezenet1_1", "--weights", "none", "--device", "cpu", "--epochs", "1")


def the_error(done: Any, code: int, *, alone: bool = True) -> str:
    """The one error line of a failed command."""
    assert done.code == code, done.stderr
    assert "Traceback" not in done.stderr and "unexpected" not in done.stderr
    assert len(done.errors) == 1 and done.stderr.rstrip().splitlines()[-1] == done.errors[0], done.stderr
    assert done.stdout == ""
    if alone:
        assert len(done.stderr.splitlines()) == 1, done.stderr
    line: str = done.errors[0]
    return line


def link_photos(source: Path, target: Path, classes: tuple[str, ...]) -> Path:
    """Real folders with links to the photos of some classes."""
    for path in sorted(source.glob("*/*/*.jpg")):
        if path.parent.name in classes:
            link = target / path.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
    return target


@pytest.mark.parametrize("command", ["train", "inspect"])
def test_a_path_that_is_not_there(command: str, graft: Graft, tmp_path: Path) -> None:
    words = QUICK if command == "train" else ()
    done = graft(command, *TASK, "--data", tmp_path / "photoz", *words, cwd=tmp_path)
    assert "photoz" in the_error(done, 3)


def test_an_empty_folder(graft: Graft, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    line = the_error(graft("train", *TASK, "--data", tmp_path / "empty", *QUICK, cwd=tmp_path), 3)
    assert str(tmp_path / "empty") in line


def test_one_class_only(graft: Graft, photos: Path, tmp_path: Path) -> None:
    folder = link_photos(photos, tmp_path / "photos", ("hat",))
    line = the_error(graft("train", *TASK, "--data", folder, *QUICK, cwd=tmp_path), 3)
    assert "one class" in line and "hat" in line


def test_unreadable_photos_among_good_ones_are_skipped_counted_and_named(
    graft: Graft, photos: Path, tmp_path: Path
) -> None:
    folder = link_photos(photos, tmp_path / "photos", ("hat", "shoes"))
    (folder / "train" / "hat" / "notes.jpg").write_text("not a picture at all")
    (folder / "train" / "shoes" / "zero.jpg").write_bytes(b"")
    whole = next((photos / "train" / "shoes").iterdir()).read_bytes()
    (folder / "train" / "shoes" / "cut.jpg").write_bytes(whole[: len(whole) // 3])
    done = graft(
        "train", *TASK, "--data", folder, *QUICK, "--set", "backbone_options.image_size=32", "--out",
        tmp_path / "run", "--json",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("data:")]
    for name in ("notes.jpg", "zero.jpg", "cut.jpg"):
        assert any(name in line for line in said), said
    assert json.loads(done.stdout)["train_rows"] == 12
    findings = json.loads((tmp_path / "run" / "data.json").read_text())["findings"]
    assert sum(finding["count"] for finding in findings if finding["where"] and "train" in finding["where"][0]) >= 3


def test_predicting_a_text_file_named_jpg(graft: Graft, trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("not a picture at all")
    line = the_error(graft("predict", trained[0], tmp_path / "notes.jpg", "--device", "cpu"), 3)
    assert "notes.jpg" in line


def test_an_unknown_backbone_gets_a_did_you_mean(graft: Graft, tmp_path: Path) -> None:
    line = the_error(graft("train", *TASK, "--data", "sample:digits", "--backbone", "resnet81", cwd=tmp_path), 2)
    assert "unknown backbone 'resnet81'" in line and "Did you mean resnet18" in line


def test_a_wrong_yaml_key_names_file_line_and_the_nearest_key(graft: Graft, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("task: image-classification\ndata: sample:digits\n\nepoch: 3\n")
    line = the_error(graft("train", "--config", "my.yaml", cwd=tmp_path), 2)
    assert "my.yaml:4" in line and "'epoch'" in line and "epochs" in line


def test_weights_of_another_architecture_name_the_tensors(graft: Graft, settings: list[str], tmp_path: Path) -> None:
    words = [word.replace("squeezenet1_0", "resnet18", 1) if word == "squeezenet1_0" else word for word in settings]
    line = the_error(graft("train", *words, "--out", tmp_path / "run"), 2)
    assert "another architecture" in line and "bn1.bias" in line and "features.0.bias" in line
    assert "missing" in line and "without a place" in line


def test_two_runs_into_one_directory(graft: Graft, trained: Trained, settings: list[str], tmp_path: Path) -> None:
    line = the_error(graft("train", *settings, "--out", trained[0]), 2)
    assert "holds a run already" in line and "--resume" in line
    out = tmp_path / "run"
    out.mkdir()
    with (out / ".lock").open("a") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)  # what a run that is under way holds
        line = the_error(graft("train", *settings, "--out", out), 2)
    assert "another run is training into this directory" in line


def test_an_output_directory_that_cannot_be_written(graft: Graft, settings: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    line = the_error(graft("train", *settings, "--out", tmp_path / "file" / "run"), 1)
    assert str(tmp_path / "file") in line and "cannot be created" in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there(graft: Graft, settings: list[str], tmp_path: Path) -> None:
    line = the_error(graft("train", *settings, "--device", "cuda", "--out", tmp_path / "run"), 2)
    assert "--device: no CUDA device is present" in line


def test_a_loss_that_is_not_finite_names_step_and_part_and_keeps_the_last_good_checkpoint(
    graft: Graft, settings: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    # The rate rises over the first half of the steps: some are good before the weights run away.
    options = ("--optimizer", "sgd", "--lr", "900", "--grad-clip", "0", "--warmup", "0.9", "--epochs", "20")
    done = graft("train", *settings, *options, "--set", "checkpoint_steps=1", "--out", out)
    line = the_error(done, 1, alone=False)
    assert "step " in line and (
        "loss part 'loss' is nan" in line or "loss part 'loss' is inf" in line or "gradient" in line
    )
    from graftwork.engine.checkpoint import CheckpointStore

    checkpoint = CheckpointStore(out / "checkpoints").load()
    assert checkpoint is not None and all(bool(tensor.isfinite().all()) for tensor in checkpoint.tensors.values())


def test_weights_with_a_nan_are_refused_before_a_step(
    graft: Graft, settings: list[str], shared_data: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    source = next(word for word in settings if word.endswith(".safetensors"))
    state = load_file(source)
    state["features.0.bias"][0] = float("nan")
    save_file(state, tmp_path / "nan.safetensors")
    words = [str(tmp_path / "nan.safetensors") if word == source else word for word in settings]
    line = the_error(graft("train", *words, "--out", tmp_path / "run"), 2, alone=False)
    assert "1 tensors of these weights hold NaN or infinity" in line and "nan.safetensors" in line


def test_a_full_disk_leaves_the_checkpoint_before_and_resume_ends_in_the_same_bits(
    graft: Graft, trained: Trained, small_disk: Path, said: list[str]
) -> None:
    whole, _, _ = trained
    out = small_disk / "run"
    words = ("train", "--config", whole / "config.yaml", "--set", "checkpoint_steps=1", "--out", out)
    filler = small_disk / "other-peoples-files"
    # A checkpoint with AdamW's momenta is 9 MB: the first fits, the second does not.
    filler.write_bytes(b"\0" * (2 << 20))
    line = the_error(graft(*words), 1, alone=False)
    assert "no space left on the device" in line and "--resume" in line and "checkpoints" in line
    from graftwork.engine.checkpoint import CheckpointStore

    checkpoint = CheckpointStore(out / "checkpoints").load()
    assert checkpoint is not None and checkpoint.meta["step"] >= 1 and said == []
    filler.unlink()
    moved = small_disk.parent / "moved"  # the disk is too small for the whole run: go on where there is room
    shutil.copytree(out, moved)
    done = graft("train", "--out", moved, "--resume")
    assert done.code == 0, done.stderr
    assert f"resuming after step {checkpoint.meta['step']}" in done.stderr
    digests = [hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest() for run in (whole, moved)]
    assert digests[0] == digests[1]


def test_a_file_that_may_grow_no_further_is_told_like_a_full_disk(tmp_path: Path) -> None:
    """RLIMIT_FSIZE, as quotas on clusters do it: no root needed."""
    import resource
    import signal

    from graftwork import RunFailed
    from graftwork.files.atomic import write_file

    path = tmp_path / "model"
    write_file(path, b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(RunFailed, match="no space left on the device"):
            write_file(path, b"x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
