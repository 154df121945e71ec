"""Class folders: splits by their usual names, what is left out, and what is refused."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from graftwork.data.folders import read_class_folders
from graftwork.errors import DataError

SUFFIXES = frozenset({".jpg", ".png"})


def plant(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(b"x")
    return root


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"),
        ("Training", "dev", "TESTING"),
        ("TRAIN", "valid", "Test"),
        ("train", "validation", "test"),
    ],
)
def test_splits_are_found_by_their_usual_names(tmp_path: Path, train: str, validation: str, test: str) -> None:
    plant(tmp_path, *(f"{split}/{label}/1.jpg" for split in (train, validation, test) for label in ("cat", "dog")))
    found = read_class_folders(tmp_path, SUFFIXES)
    assert list(found.splits) == ["train", "validation", "test"]
    assert found.classes == ("cat", "dog")
    assert found.splits["train"] == {"cat": [f"{train}/cat/1.jpg"], "dog": [f"{train}/dog/1.jpg"]}
    assert not found.findings


def test_without_split_folders_all_is_train_and_sorted_at_any_depth(tmp_path: Path) -> None:
    plant(tmp_path, "b/2.JPG", "b/1.png", "a/deep/er/3.jpg", "a/0.jpg", "a/deep-er/1.jpg")
    found = read_class_folders(tmp_path, SUFFIXES)
    assert found.splits["train"] == {
        "a": ["a/0.jpg", "a/deep/er/3.jpg", "a/deep-er/1.jpg"],
        "b": ["b/1.png", "b/2.JPG"],
    }


def test_hidden_and_system_files_and_other_files_are_left_out_and_counted(tmp_path: Path) -> None:
    plant(tmp_path, "a/1.jpg", "b/1.jpg", "a/.ipynb_checkpoints/1.jpg", "__MACOSX/a/1.jpg", "b/Thumbs.db", ".git/x.jpg")
    plant(tmp_path, "a/notes.txt", "README.md")
    found = read_class_folders(tmp_path, SUFFIXES)
    assert found.splits == {"train": {"a": ["a/1.jpg"], "b": ["b/1.jpg"]}}
    counts = {finding.code: finding.count for finding in found.findings}
    assert counts == {"hidden-files": 4, "other-files": 2}
    others = next(finding for finding in found.findings if finding.code == "other-files")
    assert set(others.where) == {"a/notes.txt", "README.md"}


def test_empty_class_folders_are_named(tmp_path: Path) -> None:
    plant(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "train/empty/", "test/a/1.jpg", "test/b/")
    found = read_class_folders(tmp_path, SUFFIXES)
    named = {finding.code: finding.where for finding in found.findings}
    assert named == {"empty-class": ("train/empty/",), "empty-class-folder": ("test/b/",)}
    assert found.classes == ("a", "b")


def test_a_split_folder_without_class_folders_is_unlabelled_and_named(tmp_path: Path) -> None:
    plant(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "test/1.jpg")
    found = read_class_folders(tmp_path, SUFFIXES)
    assert list(found.splits) == ["train"]
    assert [(finding.code, finding.where) for finding in found.findings] == [("unlabelled-split", ("test/",))]


def test_a_class_may_be_called_test(tmp_path: Path) -> None:
    plant(tmp_path, "test/1.jpg", "quiz/1.jpg")
    assert read_class_folders(tmp_path, SUFFIXES).classes == ("quiz", "test")


def test_a_link_in_a_circle_ends(tmp_path: Path) -> None:
    plant(tmp_path, "a/1.jpg", "b/1.jpg")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a", target_is_directory=True)
    assert read_class_folders(tmp_path, SUFFIXES).splits["train"] == {"a": ["a/1.jpg"], "b": ["b/1.jpg"]}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "is an empty folder"),
        (("1.jpg", "2.jpg"), r"holds 2 files \(1.jpg, 2.jpg\) but no class folders"),
        (("a/1.jpg", "b/1.jpg", "loose.jpg"), r"holds 1 file \(loose.jpg\) beside class folders"),
        (("train/a/1.jpg", "train/loose.jpg"), r"holds 1 file \(loose.jpg\) beside class folders"),
        (("train/a/1.jpg", "loose.jpg"), r"holds 1 file \(loose.jpg\) beside split folders"),
        (
            ("train/a/1.jpg", "test/a/1.jpg", "cats/1.jpg"),
            r"has split folders \(test, train\) and, beside them, files in cats",
        ),
        (("train/a/1.jpg", "val/a/1.jpg", "dev/a/1.jpg"), "both mean validation"),
        (("train/1.jpg", "test/1.jpg"), "train/ has no class folders|test/ has no class folders"),
        (("a/1.txt", "b/2.txt", "b/2.doc"), r"holds no file. Found 2 .txt, 1 .doc; wanted .jpg, .png"),
    ],
)
def test_other_forms_are_refused_with_what_was_found(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    plant(tmp_path, *names)
    with pytest.raises(DataError, match=message) as caught:
        read_class_folders(tmp_path, SUFFIXES)
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    plant(tmp_path, "file.jpg")
    with pytest.raises(DataError, match="is not a folder"):
        read_class_folders(tmp_path / "file.jpg", SUFFIXES)


@pytest.mark.parametrize(
    "names", [("bus", "car", "train"), ("train", "test"), ("bus", "validation"), ("dev", "ops", "qa")]
)
def test_a_class_that_is_called_like_a_split_is_a_class_once_the_hint_is_followed(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    root = tmp_path / "my photos"
    for name in names:
        for index in range(2):
            path = root / name / "2024" / f"{index}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    if set(names) == {"train", "test"}:
        for name in names:
            (root / name / "2024").rename(root / name / "0.jpg.d")
            for path in (root / name / "0.jpg.d").iterdir():
                path.rename(root / name / path.name)
            (root / name / "0.jpg.d").rmdir()
    with pytest.raises(DataError) as caught:
        read_class_folders(root, SUFFIXES, "image")
    hint = str(caught.value.hint)
    command, _, data = hint[hint.index("mkdir ") :].partition(", then --data ")
    subprocess.run(command, shell=True, check=True)
    found = read_class_folders(Path(*shlex.split(data)), SUFFIXES, "image")
    assert found.classes == tuple(sorted(names)) and list(found.splits) == ["train"]


@pytest.mark.parametrize(
    "folders",
    [
        ("train", "test1"),
        ("train_images", "val_images"),
        ("Training", "testSet"),
        ("trainset", "valset", "testset"),
        ("train2017", "val2017"),
        ("stage1_train", "stage1_test"),
        ("train-jpg", "test-jpg"),
    ],
)
def test_folders_that_are_all_called_like_splits_are_no_classes(folders: tuple[str, ...], tmp_path: Path) -> None:
    for folder in folders:
        plant(tmp_path, *(f"{folder}/{name}.{n}.jpg" for name in ("cat", "dog") for n in range(3)))
    with pytest.raises(DataError, match=r"called like splits|no class folders in it") as caught:
        read_class_folders(tmp_path, SUFFIXES, "image")
    assert "give a table with --data FILE.csv" in str(caught.value) and "cat, dog" in str(caught.value)


@pytest.mark.parametrize("folders", [("train_images", "test_images"), ("trainset", "validset"), ("train1", "val1")])
def test_class_folders_in_folders_called_like_splits_are_read_once_the_hint_is_followed(
    folders: tuple[str, ...], tmp_path: Path
) -> None:
    plant(tmp_path, *(f"{folder}/{name}/{n}.jpg" for folder in folders for name in ("cat", "dog") for n in range(2)))
    with pytest.raises(DataError, match="called like splits") as caught:
        read_class_folders(tmp_path, SUFFIXES, "image")
    command = str(caught.value.hint).partition(": ")[2].partition(". If ")[0]
    subprocess.run(command, shell=True, check=True)
    found = read_class_folders(tmp_path, SUFFIXES, "image")
    assert found.classes == ("cat", "dog") and len(found.splits) == 2


@pytest.mark.parametrize(
    "folders",
    [("bus", "plane", "train"), ("train station", "test tube"), ("training shoes", "dev"), ("test", "set", "ball")],
)
def test_classes_that_hold_a_splits_name_are_classes(folders: tuple[str, ...], tmp_path: Path) -> None:
    plant(tmp_path, *(f"{folder}/1.jpg" for folder in folders))
    assert read_class_folders(tmp_path, SUFFIXES).classes == tuple(sorted(folders))


@pytest.mark.parametrize(
    ("files", "classes", "splits"),
    [
        (("photos/disc/1.png", "photos/square/1.png", "__MACOSX/photos/disc/._1.png"), ("disc", "square"), ["train"]),
        (("a/b/disc/1.png", "a/b/square/1.png", "README.md"), ("disc", "square"), ["train"]),
        (("set/train/disc/1.png", "set/test/square/1.png"), ("disc", "square"), ["train", "test"]),
        (("set/train/disc/1.png", "set/train/square/1.png"), ("disc", "square"), ["train"]),
        (("photos/1.png", "photos/square/1.png"), ("photos",), ["train"]),  # a class, whose pictures lie deeper too
        (("photos/2020/1.png",), ("photos",), ["train"]),
    ],
)
def test_one_folder_around_all_others_is_looked_through_and_told(
    files: tuple[str, ...], classes: tuple[str, ...], splits: list[str], tmp_path: Path
) -> None:
    found = read_class_folders(plant(tmp_path, *files), SUFFIXES)
    assert (found.classes, list(found.splits)) == (classes, splits)
    assert ("folder-looked-through" in {finding.code for finding in found.findings}) == (len(classes) == 2)
    assert all((found.root / name).is_file() for files_of in found.splits["train"].values() for name in files_of)


@pytest.mark.parametrize("name", ["unsup", "Unlabeled", "unlabelled"])
def test_folders_without_labels_are_no_class_beside_two_others(tmp_path: Path, name: str) -> None:
    plant(
        tmp_path, "train/pos/1.jpg", "train/neg/1.jpg", f"train/{name}/1.jpg", f"train/{name}/2.jpg", "test/pos/1.jpg"
    )
    found = read_class_folders(tmp_path, SUFFIXES)
    assert found.classes == ("neg", "pos")
    assert [one.where for one in found.findings if one.code == "unlabelled-folder"] == [(f"train/{name}/ (2 files)",)]
    plant(tmp_path / "two", "labeled/1.jpg", f"{name}/1.jpg")
    assert read_class_folders(tmp_path / "two", SUFFIXES).classes == tuple(sorted(("labeled", name)))
