"""Names that were written elsewhere lead to the file that is meant, and never to another one."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwork.data import paths
from graftwork.data.paths import Files, meant, part_clashes, parts_of, shown

PICTURES = frozenset({".jpg", ".png"})


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found(root: Path, name: str, *places: str, suffixes: frozenset[str] = PICTURES) -> str | None:
    path = Files(root, suffixes).find(name, [root / place for place in places])
    return None if path is None else path.relative_to(root).as_posix()


DECOMPOSED = unicodedata.normalize("NFD", "Übung ä.jpg")


@pytest.mark.parametrize(
    ("there", "name", "meant"),
    [
        (["images/a.jpg"], "images/a.jpg", "images/a.jpg"),
        (["images/a.jpg"], "a.jpg", "images/a.jpg"),
        (["images/Train/Data/a.jpg"], "a.jpg", "images/Train/Data/a.jpg"),
        (["images/a.jpg"], "/home/anna/work/images/a.jpg", "images/a.jpg"),
        (["images/a.jpg"], "C:\\data\\images\\a.jpg", "images/a.jpg"),
        (["images/a.jpg"], "..\\images\\a.jpg", "images/a.jpg"),
        (["images/a.jpg"], "\\\\server\\share\\a.jpg", "images/a.jpg"),
        (["images/a.jpg"], "./images//a.jpg ", "images/a.jpg"),
        (["Images/A.JPG"], "images/a.jpg", "Images/A.JPG"),
        (["images/a.jpg"], "IMAGES/A.jpg", "images/a.jpg"),
        (["images/Übung ä.jpg"], DECOMPOSED, "images/Übung ä.jpg"),
        ([DECOMPOSED], "Übung ä.jpg", DECOMPOSED),
        ([DECOMPOSED], "ÜBUNG Ä.JPG", DECOMPOSED),
        (["images/Übung ä.jpg"], "images/%C3%9Cbung%20%C3%A4.jpg", "images/Übung ä.jpg"),
        (["images/Übung ä.jpg"], "images/" + quote(quote("Übung ä.jpg")), "images/Übung ä.jpg"),
        (["%C3%9Cbung.jpg"], "Übung.jpg", "%C3%9Cbung.jpg"),
        (["100%.jpg"], "x/100%.jpg", "100%.jpg"),
        (["a%20b.jpg", "a b.jpg"], "a%20b.jpg", "a%20b.jpg"),
        (["sub/a%20b.jpg", "sub/a b.jpg"], "a b.jpg", "sub/a b.jpg"),
        (["sub/A.jpg", "sub/a.jpg"], "A.jpg", "sub/A.jpg"),
        (["images/a.jpg"], "a", "images/a.jpg"),
        (["images/a.b.jpg"], "a.b", "images/a.b.jpg"),
        (["images/0a1"], "0a1", None),  # no picture by its name, and not at the place that is said
        (["a.jpg", "a.png"], "a", None),
        (["cam1/0.png", "cam2/0.png"], "/srv/images/cam2/0.png", "cam2/0.png"),
        (["cam1/0.png", "cam2/0.png"], "cam3/0.png", None),
        (["x/cam1/0.png", "y/cam1/0.png"], "cam1/0.png", None),
        (["images/a.jpg"], "https://host/data/images/a.jpg?token=1", "images/a.jpg"),
        (["images/a.jpg"], "/data/local-files/?d=set/images/a.jpg", "images/a.jpg"),
        (["images/a.jpg"], "/data/local-files/?d=set%2Fimages%2Fa.jpg", "images/a.jpg"),
        (["images/a.jpg"], "s3://bucket/images/a.jpg", "images/a.jpg"),
        ([".hidden/a.jpg", "__MACOSX/a.jpg"], "a.jpg", None),
        (["cam2/0.png", "cam1/1.png"], "cam1/0.png", None),  # the folder is there, and lacks it
        (["cam2/0.png", "cam1/notes.txt"], "/srv/set/CAM1/0.png", None),
        (["set/cam2/0.png", "set/cam1/1.png"], "cam1/0.png", None),
        (["cam2/images/0.png", "cam1/images/1.png"], "cam1/images/0.png", None),
        (["cam2/images/0.png", "cam1/1.png"], "cam1/images/0.png", "cam2/images/0.png"),
        (["images/train/0.png"], "images/0.png", "images/train/0.png"),
        (["data/images/0.png", "data/masks/0.txt"], "data/0.png", "data/images/0.png"),
        (["masks/0.png", "images/1.png"], "images/0.png", None),
        (["0.png", "cam1/1.png"], "cam1/0.png", None),
        (["images/a.jpg"], "b.jpg", None),
        (["images/a.jpg"], "images", None),
        (["images/a.jpg"], "", None),
        (["images/a.jpg"], "a.jpg\0", None),
        (["images/a.jpg"], "x" * 5000, None),
    ],
)
def test_a_name_leads_to_the_one_file_that_is_meant(
    tmp_path: Path, there: list[str], name: str, meant: str | None
) -> None:
    make(tmp_path, *there)
    assert found(tmp_path, name) == meant


@pytest.mark.parametrize(
    ("there", "name", "elsewhere"),
    [
        ("cam2/0.png", "cam1/0.png", True),
        ("set/cam2/0.png", "cam1/0.png", True),
        ("cam2/0.png", "/home/anna/cam1/0.png", True),
        ("cam2/images/0.png", "cam1/images/0.png", True),
        ("valid/images/0.png", "train\\images\\0.png", True),
        ("pictures/0.png", "img/0", True),
        ("cam2/0.png", "0.png", False),
        ("0.png", "cam1/0.png", False),
        ("cam1/0.png", "set/cam1/0.png", False),
        ("Cam1/0.png", "cam1/0.png", False),
        ("images/train/0.png", "images/0.png", False),
        ("set1/images/0.png", "/content/set/images/0.png", False),  # what a server calls its folders
        ("set1/images/0.png", "https://host/set/images/0.png", False),
        ("images/0.png", "..\\..\\media\\upload\\4\\0.png", False),
        ("images/0.png", "/data/upload/4/0.png", False),
        ("images/0.png", "upload/4/0.png", True),
    ],
)
def test_a_file_in_a_folder_of_another_name_is_told(tmp_path: Path, there: str, name: str, elsewhere: bool) -> None:
    make(tmp_path, there)
    found = Files(tmp_path, PICTURES).look(name)
    assert found.path == tmp_path / there and found.elsewhere is elsewhere


@given(
    st.lists(st.text("aäÄA%2 ", min_size=1, max_size=4).filter(str.strip).map(str.strip), min_size=1, max_size=3),
    st.sampled_from(["upper", "NFD", "quoted", "windows", "absolute", "tail"]),
)
@settings(max_examples=60, deadline=None)
def test_the_only_file_is_found_however_its_path_was_rewritten(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], how: str
) -> None:
    root = tmp_path_factory.mktemp("set")
    path = "/".join(parts) + ".jpg"
    make(root, path)
    rewritten = {
        "upper": path.upper(),
        "NFD": unicodedata.normalize("NFD", path),
        "quoted": quote(path),
        "windows": "D:\\x\\" + path.replace("/", "\\"),
        "absolute": "/somewhere/else/" + path,
        "tail": path.rpartition("/")[2],
    }[how]
    assert found(root, rewritten) == path


def test_a_name_that_is_there_is_taken_without_looking_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.jpg", "images/a.jpg")
    monkeypatch.setattr(paths, "_walk", None)
    assert found(tmp_path, "a.jpg") == "a.jpg"
    assert found(tmp_path, "a.jpg", "images") == "images/a.jpg"
    assert Files(tmp_path / "images").find(str(tmp_path / "a.jpg")) == tmp_path / "a.jpg"


def test_what_must_not_leave_the_folder_does_not(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "set/images/a.jpg")
    files = Files(tmp_path / "set", PICTURES, outside=False)
    for name in (str(tmp_path / "a.jpg"), "../a.jpg", "images/../../a.jpg"):
        assert files.find(name) == tmp_path / "set/images/a.jpg"


def test_of_equal_tails_that_below_the_first_place_is_taken(tmp_path: Path) -> None:
    make(tmp_path, "train/deep/a.jpg", "test/deep/a.jpg")
    assert found(tmp_path, "a.jpg") is None
    assert found(tmp_path, "a.jpg", "test") == "test/deep/a.jpg"
    assert Files(tmp_path, PICTURES).find("a.jpg", without=[tmp_path / "test"]) == tmp_path / "train/deep/a.jpg"


def test_the_place_looked_for_is_told_with_what_fits_equally(tmp_path: Path) -> None:
    make(tmp_path, "x/a.jpg", "y/a.jpg")
    files = Files(tmp_path, PICTURES)
    assert files.looked_for("b.jpg") == f"b.jpg in {tmp_path} and below"
    assert files.looked_for("x/b/a.jpg") == f"x/b/a.jpg in {tmp_path} and below, where 2 fit: x/a.jpg, y/a.jpg"
    make(tmp_path, "x/only.jpg")
    assert "its folder lacks it (only x/only.jpg" in Files(tmp_path, PICTURES).looked_for("y/only.jpg")
    assert files.looked_for("a.jpg") == f"a.jpg in {tmp_path} and below, where 2 fit: x/a.jpg, y/a.jpg"


def test_a_folder_too_large_to_be_looked_through_is_not_guessed_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "MOST_FILES", 2)
    make(tmp_path, "x/a.jpg", "x/b.jpg", "x/c.jpg")
    files = Files(tmp_path, PICTURES)
    assert files.find("a.jpg") is None
    assert files.find("x/a.jpg") == tmp_path / "x/a.jpg"
    assert "more than 2 files" in files.looked_for("a.jpg")


@pytest.mark.parametrize(
    ("there", "names", "kept"),
    [
        (["0.png"], ["cam1/0.png", "cam2/0.png"], []),
        (["0.png"], ["cam1/0.png", "0.png"], ["0.png"]),
        (["cam1/0.png"], ["cam1/0.png", "0.png"], ["cam1/0.png"]),
        (["images/cam1/0.png"], ["cam1/0.png", "cam2/0.png"], ["cam1/0.png"]),
        (["a.jpg"], ["a.jpg", "A.jpg"], ["a.jpg"]),
        (["a.jpg"], ["A.jpg", "A.JPG"], []),
        (["x/a b.jpg"], ["a b.jpg", "a%20b.jpg"], ["a b.jpg"]),
        (["a.jpg"], ["D:\\set\\a.jpg", "E:\\set\\a.jpg"], []),
        (["x/a.jpg"], ["x/a.jpg", ".\\x\\a.jpg"], ["x/a.jpg", ".\\x\\a.jpg"]),  # two spellings of one name
        (["cam1/0.png", "cam2/0.png"], ["/s/cam1/0.png", "/s/cam2/0.png"], ["/s/cam1/0.png", "/s/cam2/0.png"]),
    ],
)
def test_different_names_never_lead_to_one_file(
    tmp_path: Path, there: list[str], names: list[str], kept: list[str]
) -> None:
    make(tmp_path, *there)
    files = Files(tmp_path, PICTURES)
    parted = part_clashes({name: files.look(name) for name in names})
    assert [name for name, one in parted.items() if one.path] == kept


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("/content/datasets/shapes-1/train/images", "Train/images"),
        ("../train/images", "Train/images"),
        ("D:\\sets\\train\\images\\", "Train/images"),
        ("valid/images", None),
    ],
)
def test_a_folder_is_found_by_its_tail_from_the_root_alone(tmp_path: Path, name: str, meant: str | None) -> None:
    make(tmp_path, "Train/images/a.jpg", "other/valid/images/a.jpg")
    assert Files(tmp_path).tail(name) == (None if meant is None else tmp_path / meant)


def test_names_that_are_no_utf8_are_found_and_can_be_shown(tmp_path: Path) -> None:
    make(tmp_path, os.fsdecode(b"old/tr\xe4in.jpg"), os.fsdecode(b"dos/b\x94se.jpg"))
    files = Files(tmp_path, PICTURES)
    windows, dos = files.find("train.jpg".replace("a", "ä")), files.find("böse.jpg")
    assert windows is not None and shown(windows.name) == "tr\\xe4in.jpg"
    assert dos is not None and shown(dos.name) == "b\\x94se.jpg"
    assert "\\xe4" in files.looked_for(os.fsdecode(b"x\xe4"))
    assert [meant(shown(path)) for path in (windows, dos)] == [str(windows), str(dos)]
    assert meant("a\\x41.jpg") == "a\\x41.jpg"  # no file's, so itself


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    make(tmp_path, "x/a.jpg")
    (tmp_path / "x/loop").symlink_to(tmp_path)
    assert found(tmp_path, "a.jpg") == "x/a.jpg"


def test_parts_are_those_of_any_machine() -> None:
    assert parts_of("C:\\x\\..\\y\\a.jpg") == parts_of("/y/./a.jpg") == parts_of("y//a.jpg") == ("y", "a.jpg")
