"""`graft evaluate` on data that the run has seen: rows that it was trained on are left out, or their number is said."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graftwork.catalogue import load_catalogue
from graftwork.config import override_layer
from graftwork.config.check import resolve_and_check
from graftwork.errors import DataError
from graftwork.interfaces import DataRequest
from graftwork.models.build import Builder
from graftwork.runs.data import RunData, read_data
from graftwork.runs.known import ROWS, Known, Measured, keep_rows, keys_of, known_rows, rows_to_measure

CATALOGUE = load_catalogue()
WORDS = ("river", "stone", "apple", "cloud", "train", "music", "paper", "green", "night", "coffee", "window", "garden")
Lines = list[tuple[str, str]]


def lines_of(start: int, count: int) -> Lines:
    found = []
    for number in range(start, start + count):
        chosen = random.Random(number).choices(WORDS, k=12)
        found.append((" ".join(chosen), "ab"[number % 2]))
    return found


LINES = lines_of(0, 100)


def write(file: Path, lines: Lines) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in lines))
    return file


def read(data: Path, **settings: Any) -> RunData:
    layer = override_layer({"task": "text-classification", "data": str(data), **settings})
    return read_data(resolve_and_check([layer], CATALOGUE).config, Builder(CATALOGUE))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    return read(write(tmp_path_factory.mktemp("data") / "texts.csv", LINES))


@pytest.fixture
def run(data: RunData, tmp_path: Path) -> Path:
    keep_rows(tmp_path, data)
    return tmp_path


def texts(data: RunData, split: str) -> set[str]:
    return set(data.tables.splits[split]["text"][:])


def measured(data: RunData, run: Path, source: Path, split: str = "test") -> Measured:
    tables = data.task.read(DataRequest(str(source), options={"labels": "single", "label_separator": "|"}))
    return rows_to_measure(data.task, tables, split, known_rows(run), str(source))


OTHERS: dict[str, Callable[[], Lines]] = {
    "the same": lambda: LINES,
    "shuffled": lambda: random.Random(1).sample(LINES, len(LINES)),
    "a part": lambda: LINES[10:60],
    "more": lambda: LINES + lines_of(1000, 20),
    "some of it and more": lambda: LINES[:30] + lines_of(1000, 20),
    "with other labels": lambda: [(text, "b" if label == "a" else "a") for text, label in LINES],
    "twice": lambda: LINES + LINES,
    "nothing of it": lambda: lines_of(1000, 20),
}


@pytest.mark.parametrize("what", OTHERS)
def test_of_data_without_splits_what_was_trained_on_is_left_out(
    what: str, data: RunData, run: Path, tmp_path: Path, said: list[str]
) -> None:
    lines = OTHERS[what]()
    found = measured(data, run, write(tmp_path / "other name.csv", lines))
    used = texts(data, "train") | texts(data, "validation")
    wanted = [text for text, _ in lines if text not in used]
    assert sorted(found.rows["text"][:]) == sorted(wanted)
    assert (found.trained_on, found.left_out) == (0, len(lines) - len(wanted))
    assert any("no split 'test' here: measured on" in line for line in said)


def test_the_runs_own_test_split_is_what_the_run_was_measured_on(data: RunData, run: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "same.csv", LINES)
    for split in ("test", "validation"):
        assert set(measured(data, run, source, split).rows["text"][:]) == texts(data, split)


def test_rows_that_a_limit_left_out_are_no_test_rows(tmp_path: Path) -> None:
    source = write(tmp_path / "texts.csv", LINES)
    limited = read(source, limit_train=10)
    keep_rows(tmp_path, limited)
    assert set(measured(limited, tmp_path, source).rows["text"][:]) == texts(limited, "test")


def test_a_split_that_is_asked_for_is_measured_whole_and_what_was_trained_on_is_counted(
    data: RunData, run: Path, tmp_path: Path, said: list[str]
) -> None:
    found = measured(data, run, write(tmp_path / "same.csv", LINES), "train")
    assert (len(found.rows), found.trained_on) == (100, len(texts(data, "train")))
    assert f"trained on {found.trained_on} of these 100 rows" in said[0]
    assert "rows have chosen its best epoch" in said[1]


def test_a_test_file_that_overlaps_with_training_says_so(
    data: RunData, run: Path, tmp_path: Path, said: list[str]
) -> None:
    seen = [(text, "a") for text in sorted(texts(data, "train"))[:5]]
    write(tmp_path / "set" / "train.csv", lines_of(3000, 4))
    write(tmp_path / "set" / "test.csv", lines_of(2000, 20) + seen)
    found = measured(data, run, tmp_path / "set")
    assert (len(found.rows), found.trained_on) == (25, 5)
    assert said == ["data: the model was trained on 5 of these 25 rows, so the figures are too good"]


def test_rows_that_were_all_trained_on_are_refused_with_a_way_out(data: RunData, run: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "seen.csv", [(text, "a") for text in texts(data, "train")])
    with pytest.raises(DataError, match=r"trained on all of its .* rows.*--split train"):
        measured(data, run, source)
    assert measured(data, run, source, "train").trained_on == len(texts(data, "train"))


@pytest.mark.parametrize("kept", [None, b"", b"no tensors"])
def test_without_the_runs_rows_what_cannot_be_known_is_said(
    kept: bytes | None, data: RunData, run: Path, tmp_path: Path, said: list[str]
) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    if kept is not None:
        (alone / ROWS).write_bytes(kept)
    source = write(tmp_path / "same.csv", LINES)
    with pytest.raises(DataError, match=r"cannot be known without the run.s rows\.safetensors.*--split train"):
        measured(data, alone, source)
    found = measured(data, alone, source, "train")
    assert (len(found.rows), found.trained_on) == (100, None)
    assert "cannot be known" in said[0]


def test_pictures_are_known_again_without_being_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    for number in range(40):
        file = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((40, 40), number + 1).save(file)
    layer = override_layer({"task": "image-classification", "data": str(tmp_path / "photos")})
    trained = read_data(resolve_and_check([layer], CATALOGUE).config, Builder(CATALOGUE))
    keep_rows(tmp_path, trained)
    shutil.move(tmp_path / "photos" / "a" / "0.png", tmp_path / "photos" / "a" / "renamed.png")
    monkeypatch.setattr(Image, "open", lambda *given: pytest.fail("a picture is opened"))
    tables = trained.task.read(DataRequest(str(tmp_path / "photos")))
    found = rows_to_measure(trained.task, tables, "test", known_rows(tmp_path), "photos")
    names = {Path(origin).name for origin in trained.tables.splits["test"]["origin"][:]}
    assert {name.replace("renamed", "0") for name in (Path(one).name for one in found.rows["origin"][:])} == names


def test_a_million_rows_are_kept_in_eight_megabytes_and_looked_up_quickly() -> None:
    import time

    started = time.monotonic()
    keys = keys_of(map(str, range(1_000_000)))
    known = Known({"train": keys})
    assert known.have(keys[:500_000], "train").all() and keys.nbytes == 8_000_000
    assert time.monotonic() - started < 30
