"""`graft predict` on what people really have: damaged files among good ones, lines of stdin, tables with columns of their own."""

from __future__ import annotations

import csv
import importlib
import io
import json
import lzma
import shutil
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from graftwork.cli import main
from graftwork.cli.predict import expand, line
from graftwork.errors import DataError
from graftwork.interfaces import Inputs
from graftwork_text.inputs import read_inputs

ARTIFACTS = Path(__file__).parents[1] / "artifacts" / "0.1.0"
PICTURES = ("image-classification", "detection", "segmentation")

Said = tuple[int, str, list[str]]
"""Exit code, stdout, and the lines of stderr that begin with `graft:`."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Trained models of version 0.1.0 by task."""
    folder = tmp_path_factory.mktemp("models")

    def model(task: str) -> Path:
        if not (folder / task).is_dir():
            (folder / task).mkdir()
            shutil.copy(ARTIFACTS / task / "model.json", folder / task)
            weights = (ARTIFACTS / task / "model.safetensors.xz").read_bytes()
            (folder / task / "model.safetensors").write_bytes(lzma.decompress(weights))
        return folder / task

    return model


@pytest.fixture
def predict(
    models: Callable[[str], Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Said]:
    """`graft predict` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(task: str, *words: Any, stdin: bytes = b"") -> Said:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        code = main(["predict", str(models(task)), "--device", "cpu", *map(str, words)])
        said = capsys.readouterr()
        return code, said.out, [row for row in said.err.splitlines() if row.startswith("graft:")]

    return run


def picture(path: Path, seed: int = 0, kind: str = "PNG") -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, kind)
    return path.read_bytes()


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "empty.png": lambda data: b"",
    "cut.png": lambda data: data[: len(data) // 2],
    "cut.jpg": lambda data: data[:300],
    "header-alone.png": lambda data: data[:20],
    "a-page.jpg": lambda data: b"<html>404 not found</html>",
    "zeros.bmp": lambda data: bytes(1000),
    "broken-stream.png": lambda data: data[:100] + bytes(200) + data[300:],
}
KINDS = {".png": "PNG", ".jpg": "JPEG", ".bmp": "BMP"}


@pytest.mark.parametrize("task", PICTURES)
def test_damaged_pictures_of_a_folder_are_named_and_the_others_are_predicted(
    task: str, predict: Callable[..., Said], tmp_path: Path
) -> None:
    for number, good in enumerate(("a.png", "d.png")):
        picture(tmp_path / "in" / good, number)
    for name, spoil in DAMAGED.items():
        file = tmp_path / "in" / name
        file.write_bytes(spoil(picture(file, 9, KINDS[file.suffix])))
    code, out, said = predict(task, "in", "--json")
    assert code == 5
    assert [Path(one["input"]).name for one in json.loads(out)] == ["a.png", "d.png"]
    assert len(said) == 8 and "7 of 9 inputs" in said[-1]
    assert all(any(f"error: in/{name}: " in row for row in said) for name in DAMAGED)


def test_no_mask_or_drawing_takes_the_place_of_another(predict: Callable[..., Said], tmp_path: Path) -> None:
    names = ("a/0.png", "b/0.png", "b/0.jpg", "b/c/1.png")
    for number, name in enumerate(names):
        picture(tmp_path / name, number, KINDS.get(Path(name).suffix, "PNG").replace("BMP", "PNG"))
    for task, kinds in (("segmentation", ("mask", "drawn")), ("detection", ("drawn",))):
        code, out, _ = predict(task, "a", "b", "--draw", "--out", f"out-{task}", "--json")
        rows = {one["input"]: one for one in json.loads(out)}
        assert code == 0 and set(rows) == set(names)
        for kind in kinds:
            wanted = {"a/0.png": "a/0", "b/0.png": "b/0.png", "b/0.jpg": "b/0.jpg", "b/c/1.png": "b/c/1"}
            assert {name: row[kind] for name, row in rows.items()} == {
                name: f"out-{task}/{stem}.{kind}.png" for name, stem in wanted.items()
            }
            assert all((tmp_path / row[kind]).is_file() for row in rows.values())
    code, out, _ = predict("segmentation", "a", "--out", "out-a", "--json")
    assert [one["mask"] for one in json.loads(out)] == ["out-a/0.mask.png"]


def test_a_table_is_not_written_over_the_one_that_is_read(predict: Callable[..., Said], tmp_path: Path) -> None:
    before = table(tmp_path / "new.csv", "id,text,source").read_bytes()
    (tmp_path / "link.csv").symlink_to("new.csv")
    for out in ("new.csv", "./new.csv", "link.csv"):
        code, _, said = predict(TEXT, "new.csv", "--out", out)
        assert code == 2 and "is an input, and would be written over" in said[0]
    assert (tmp_path / "new.csv").read_bytes() == before
    assert predict(TEXT, "new.csv", "--out", "done.csv")[0] == 0


@pytest.mark.parametrize("task", PICTURES)
def test_damaged_pictures_named_one_by_one_go_alike_and_strict_stops_at_the_first(
    task: str, predict: Callable[..., Said], tmp_path: Path
) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes(picture(tmp_path / "b.png")[:900])
    (tmp_path / "no.png").write_text("no picture")
    words = ["missing.png", "a.png", "cut.png", "no.png", "a.png"]
    code, out, said = predict(task, *words)
    assert code == 5 and [row.split("\t")[0] for row in out.splitlines()] == ["a.png", "a.png"]
    assert len(said) == 4 and "3 of 5 inputs" in said[-1]
    assert all(any(f" {name}: " in row for row in said) for name in ("missing.png", "cut.png", "no.png"))
    code, out, said = predict(task, *words, "--strict")
    assert code == 3 and not out and len(said) == 1 and "missing.png" in said[0]
    code, out, said = predict(task, "a.png", "cut.png", "--strict", "--json")
    assert code == 3 and not out and len(said) == 1 and "cut.png" in said[0]


@pytest.mark.parametrize("task", PICTURES)
def test_where_nothing_can_be_read_the_exit_code_is_that_of_the_data(
    task: str, predict: Callable[..., Said], tmp_path: Path
) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    assert predict(task, "empty.png")[::2] == (3, ["graft: error: empty.png: is empty (zero bytes)"])
    assert predict(task, "empty.png", "--column", "image=file")[0] == 2
    code, out, said = predict(task, "-", stdin=b"empty.png\n")
    assert code == 3 and not out and "a line of standard input is a text" in said[0]


def test_a_line_counts_the_objects_above_the_threshold_which_can_be_another(
    predict: Callable[..., Said], models: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.copy(ARTIFACTS / "detection" / "input-0.png", tmp_path / "a.png")
    own = json.loads((models("detection") / "model.json").read_text())["facts"]["threshold"]
    [told] = json.loads(predict("detection", "a.png", "--json")[1])
    scores = [one["score"] for one in told["objects"]]
    assert told["threshold"] == own and sum(score >= own for score in scores) < len(scores)
    assert predict("detection", "a.png")[1] == f"a.png\tobjects={sum(score >= own for score in scores)}\n"
    assert predict("detection", "a.png", "--threshold", "0")[1] == f"a.png\tobjects={len(scores)}\n"
    assert predict("detection", "a.png", "--threshold", "1")[1] == "a.png\tobjects=0\n"
    code, _, said = predict("segmentation", "a.png", "--threshold", "0.5")
    assert code == 2 and "decides by no threshold" in said[0]


TEXT = "text-classification"


def test_texts_that_are_not_utf8_are_named_and_the_others_predicted(
    predict: Callable[..., Said], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("schön", encoding="utf-8")
    (tmp_path / "in" / "b.txt").write_bytes("eins\nschön".encode("cp1252"))
    (tmp_path / "in" / "c.txt").write_text("good", encoding="utf-16")
    code, out, said = predict(TEXT, "in", "nice", "caf\udce9", "gone.txt")
    assert code == 5 and [row.split("\t")[0] for row in out.splitlines()] == ["in/a.txt", "in/c.txt", "nice"]
    assert "in/b.txt: line 2 holds the byte 0xf6, which is not UTF-8" in said[0]
    assert "character 4 is not UTF-8" in said[1] and "gone.txt: does not exist" in said[2] and "3 of 6" in said[3]


def test_lines_of_stdin_are_texts_whatever_they_are_called(predict: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("secret")
    (tmp_path / "t.csv").write_text("text\nsecret\n")
    lines = ["the lamp was great", ".", "docs", "docs/a.txt", "t.csv", "gone.txt", "/etc/passwd", "~", "--json", "-"]
    code, out, said = predict(TEXT, "-", stdin="\n".join(lines).encode())
    assert code == 0 and not said
    assert [row.split("\t")[0] for row in out.splitlines()] == lines
    code, out, said = predict(TEXT, "docs/a.txt", "-", stdin=b"one\nsch\xf6n\nt.csv\n")
    assert code == 5 and [row.split("\t")[0] for row in out.splitlines()] == ["docs/a.txt", "one", "t.csv"]
    assert "line 2 of standard input: byte 4 (0xf6) is not UTF-8" in said[0]


def test_a_text_that_begins_with_a_dash_is_pointed_to_two_dashes(predict: Callable[..., Said]) -> None:
    code, _, said = predict(TEXT, "-5 stars")
    assert code == 2 and "Put -- before a text or a name that begins with a dash" in said[0]
    code, out, _ = predict(TEXT, "--", "-5 stars")
    assert code == 0 and out.startswith("-5 stars\t")


NEW_TABLE = [
    ("7", "great lamp, nice light", "web"),
    ("8", "where is my card", "shop"),
    ("9", "please help me again", "web"),
]


def table(path: Path, header: str, rows: list[tuple[str, ...]] | None = None) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header.split(","), *(NEW_TABLE if rows is None else rows)])
    return path


def remember(model: Path, columns: dict[str, str], tmp_path: Path) -> Path:
    """The same model as if it had been trained on a table with these columns."""
    shutil.copytree(model, tmp_path / "run")
    card = json.loads((model / "model.json").read_text())
    (tmp_path / "run" / "model.json").write_text(json.dumps({**card, "columns": columns}))
    return tmp_path / "run"


def expected(predict: Callable[..., Said]) -> list[str]:
    _, out, _ = predict(TEXT, *(text for _, text, _ in NEW_TABLE))
    return [row.split("\t")[1] for row in out.splitlines()]


@pytest.mark.parametrize(
    ("header", "trained", "words", "told"),
    [
        ("id,text,source", {}, [], None),
        ("id,review,source", {}, [], None),  # as models of 0.1.0 do: by its usual name
        ("id,what they wrote,text", {"text": "what they wrote", "label": "kind"}, [], None),
        ("id,words,text", {}, ["--column", "text=words"], None),
        ("id,words,text", {"text": "text"}, ["--column", "text=words"], None),
        ("id,review,source", {"text": "gone"}, [], "no column 'gone'"),
        ("origin,text,source", {}, [], None),
    ],
)
def test_a_table_is_read_by_the_columns_of_the_training_or_those_that_are_given(
    header: str,
    trained: dict[str, str],
    words: list[str],
    told: str | None,
    predict: Callable[..., Said],
    models: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    labels = expected(predict)
    run = remember(models(TEXT), trained, tmp_path)
    table(tmp_path / "new.csv", header)
    assert main(["predict", str(run), "new.csv", "--device", "cpu", *words]) == 0
    said = capsys.readouterr()
    assert [row.split("\t")[:2] for row in said.out.splitlines()] == [
        [f"new.csv row {number}", label] for number, label in enumerate(labels, start=1)
    ]
    assert (told or "") in said.err


def test_a_table_without_a_known_column_is_refused_with_a_way_out_that_works(
    predict: Callable[..., Said], tmp_path: Path
) -> None:
    table(tmp_path / "new.csv", "id,words,source")
    code, _, said = predict(TEXT, "new.csv")
    assert code == 3 and "its columns: id, words, source" in said[0] and "--column text=NAME" in said[0]
    assert predict(TEXT, "new.csv", "--column", "text=words")[0] == 0
    (tmp_path / "bars.csv").write_text("id^text\n7^great lamp\n")
    code, out, said = predict(TEXT, "bars.csv", "--set", "data_options.delimiter=^")
    assert code == 0 and out.startswith("bars.csv row 1\t"), said
    code, _, said = predict(TEXT, "new.csv", "--column", "label=words")
    assert code == 2 and "unknown column 'label'" in said[0]


@pytest.mark.parametrize(
    ("header", "written"),
    [
        ("id,text,source", "id,text,source,label,confidence,probabilities"),
        ("id,text,label", "id,text,label,predicted_label,confidence,probabilities"),
        ("origin,text,input", "origin,text,input,label,confidence,probabilities"),
        ("confidence,text,beside", "confidence,text,beside,label,predicted_confidence,probabilities"),
        ("ID number,text,größe", "ID number,text,größe,label,confidence,probabilities"),
    ],
)
def test_predictions_come_back_beside_the_columns_of_the_table(
    header: str, written: str, predict: Callable[..., Said], tmp_path: Path
) -> None:
    labels = expected(predict)
    table(tmp_path / "new.csv", header)
    code, out, _ = predict(TEXT, "new.csv", "--out", "done.csv")
    assert code == 0 and len(out.splitlines()) == 3
    with (tmp_path / "done.csv").open(encoding="utf-8", newline="") as file:
        first, *rows = list(csv.reader(file))
    assert first == written.split(",")
    assert [tuple(row[:3]) for row in rows] == NEW_TABLE
    assert [row[3] for row in rows] == labels


def test_other_inputs_come_back_as_a_table_too(predict: Callable[..., Said], tmp_path: Path) -> None:
    table(tmp_path / "new.csv", "id,text,source", NEW_TABLE[:1])
    code, _, _ = predict(TEXT, "a text", "new.csv", "-", "--out", "out/done.tsv", stdin=b"a line\n")
    assert code == 0
    rows = (tmp_path / "out" / "done.tsv").read_text(encoding="utf-8").splitlines()
    assert [row.split("\t")[:4] for row in rows] == [
        ["input", "id", "text", "source"],
        ["a text", "", "", ""],
        ["", *NEW_TABLE[0]],
        ["a line", "", "", ""],
    ]
    picture(tmp_path / "a.png")
    code, _, _ = predict("segmentation", "a.png", "--out", "masks.csv")
    assert code == 0 and (tmp_path / "masks" / "a.mask.png").is_file()
    assert "a.mask.png" in (tmp_path / "masks.csv").read_text()


@pytest.mark.parametrize(
    ("prediction", "said"),
    [
        ({"input": "a", "labels": ["disc", "red square"], "probabilities": {}}, "a\tlabels=disc, red square"),
        ({"input": "a", "labels": []}, "a\tlabels="),
        ({"input": "a", "value": 1.5}, "a\tvalue=1.5"),
        ({"input": "a", "objects": [{"score": 0.9}, {"score": 0.2}], "threshold": 0.5}, "a\tobjects=1"),
        ({"input": "a", "objects": []}, "a\tobjects=0"),
    ],
)
def test_a_line_names_labels_and_counts_objects(prediction: dict[str, Any], said: str) -> None:
    assert line(prediction) == said


def numbers_of(out: str, file: str) -> list[int]:
    """The rows of a table that were predicted."""
    return [int(row.split("\t")[0].removeprefix(f"{file} row ")) for row in out.splitlines()]


JSON_CELLS = '{"text": "good"}\n{"text": null}\n{"id": 1}\n{"text": ""}\n{"text": "bad"}\n{"text": "\\u200b "}\n'
WITHOUT_TEXT: dict[str, tuple[Callable[[Path], object], list[int]]] = {
    "a.csv": (lambda file: file.write_text('id,text\n1,good\n2,\n3,""\n4,  \n5,bad\n'), [2, 3, 4]),
    "a.tsv": (lambda file: file.write_text("text\tid\n\t1\nbad\t2\n"), [1]),
    "a.jsonl": (lambda file: file.write_text(JSON_CELLS), [2, 3, 4, 6]),
    "a.json": (lambda file: file.write_text('[{"text": null}, {"text": "good"}, {}, {"text": ""}]'), [1, 3, 4]),
    "a.parquet": (lambda file: parquet.write_table(pa.table({"text": [None, "good", "", "bad"]}), file), [1, 3]),
    "b.parquet": (
        lambda file: parquet.write_table(pa.table({"text": pa.array(["good", None], pa.large_string())}), file),
        [2],
    ),
    "c.parquet": (lambda file: parquet.write_table(pa.table({"text": pa.array([b"good", None, b""])}), file), [2, 3]),
}


@pytest.mark.parametrize("name", sorted(WITHOUT_TEXT))
def test_rows_without_a_text_are_named_and_get_no_prediction(
    name: str, predict: Callable[..., Said], tmp_path: Path
) -> None:
    write, empty = WITHOUT_TEXT[name]
    write(tmp_path / name)
    code, out, said = predict(TEXT, name)
    assert code == 5 and said[:-1] == [f"graft: error: {name} row {number}: has no text" for number in empty]
    got = numbers_of(out, name)
    assert got and sorted([*got, *empty]) == list(range(1, max([*got, *empty]) + 1))
    code, out, said = predict(TEXT, name, "--strict")
    assert (code, out, len(said)) == (3, "", 1) and f"{name} row {empty[0]}: has no text" in said[0]


def test_a_table_without_any_text_and_texts_that_are_none(predict: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": null}\n{"text": null}\n')
    (tmp_path / "empty.txt").write_text(" \n")
    assert predict(TEXT, "a.jsonl")[0] == 3
    code, out, said = predict(TEXT, "", "good", "empty.txt")
    assert (
        code == 5 and out.startswith("good\t") and "'': has no text" in said[0] and "empty.txt: has no text" in said[1]
    )


def test_reading_inputs_shows_no_bars(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bars = importlib.import_module("datasets.utils.tqdm")
    monkeypatch.setattr(bars, "HF_DATASETS_DISABLE_PROGRESS_BARS", None)
    monkeypatch.setattr(bars, "_hf_datasets_progress_bars_disabled", False)
    (tmp_path / "null.jsonl").write_text('{"text": null}\n')
    for name, (write, _) in WITHOUT_TEXT.items():
        write(tmp_path / name)
    for file in tmp_path.iterdir():
        read_inputs(Inputs((str(file),), refuse=lambda error: None))
    assert capsys.readouterr().err == ""


def test_blank_lines_of_stdin_are_no_texts_and_those_between_others_are_told(predict: Callable[..., Said]) -> None:
    code, out, said = predict(TEXT, "-", stdin=b"one\n\n  \ntwo\n\n\n")
    assert code == 0 and [row.split("\t")[0] for row in out.splitlines()] == ["one", "two"]
    assert len(said) == 1 and "blank lines" in said[0] and "2 (2, 3)" in said[0]
    code, out, said = predict(TEXT, "-", stdin=b"one\n\n")
    assert code == 0 and not said
    assert predict(TEXT, "-", stdin=b"\n\n")[0] == 3


ENGLISH, GREEK, CHINESE = "the lamp was great\nnice light\n", "η λάμπα ήταν\nωραίο φως\n", "灯 很好\n不 好\n"


@pytest.mark.parametrize("text", [ENGLISH, GREEK, CHINESE])
@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff"), ("utf-16-le", b""), ("utf-16-be", b""),
        ("utf-32-le", b"\xff\xfe\0\0"), ("utf-32-be", b"\0\0\xfe\xff"), ("utf-8", b"\xef\xbb\xbf"),
    ],
)  # fmt: skip
def test_texts_of_two_bytes_a_letter_are_read_wherever_they_come_from(
    text: str, encoding: str, mark: bytes, tmp_path: Path
) -> None:
    data = mark + text.encode(encoding)
    refused: list[DataError] = []
    assert expand(["-"], lambda: BytesIO(data), refused.append)[0] == text.splitlines() and not refused
    (tmp_path / "a.txt").write_bytes(data)
    assert read_inputs([str(tmp_path / "a.txt")])["text"][:] == [text]
    (tmp_path / "a.csv").write_bytes(mark + f"text\n{text}".encode(encoding))
    assert read_inputs([str(tmp_path / "a.csv")])["text"][:] == text.splitlines()
    lines = "".join(json.dumps({"text": line}, ensure_ascii=False) + "\n" for line in text.splitlines())
    (tmp_path / "a.jsonl").write_bytes(mark + lines.encode(encoding))
    assert read_inputs([str(tmp_path / "a.jsonl")])["text"][:] == text.splitlines()


def test_nul_in_a_text_is_refused_by_its_line(predict: Callable[..., Said], tmp_path: Path) -> None:
    code, out, said = predict(TEXT, "-", stdin=b"one\ntwo\0three\0\nfour\n")
    assert code == 5 and [row.split("\t")[0] for row in out.splitlines()] == ["one", "four"]
    assert "line 2 of standard input: character 4 is NUL" in said[0] and "iconv -f UTF-16LE -t UTF-8" in said[0]
    code, _, said = predict(TEXT, "-", stdin=ENGLISH.encode("utf-16")[:-1])
    assert code == 3 and said == [
        "graft: error: standard input: is UTF-16 text that is damaged or cut short. Write it anew, as UTF-8"
    ]
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\0\n")
    (tmp_path / "b.txt").write_bytes(ENGLISH.encode("utf-16")[:-1])
    (tmp_path / "c.txt").write_bytes(b"PK\x03\x04" + bytes(range(256)))
    code, _, said = predict(TEXT, "a.txt", "b.txt", "c.txt")
    assert code == 3 and "line 2 holds a NUL" in said[0] and "cut short" in said[1] and "zip archive" in said[2]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.xlsx", "a.PARQUET", "a.txt"])
def test_predictions_are_not_lost_in_a_file_that_nobody_writes(
    name: str, predict: Callable[..., Said], tmp_path: Path
) -> None:
    code, out, said = predict(TEXT, "good", "--out", name)
    assert code == 2 and not out and "--out FILE.csv" in said[0] and "--json > FILE.json" in said[0]
    code, out, said = predict(TEXT, "good", "--out", "folder")
    assert code == 0 and out and "nothing is in folder" in said[0] and not (tmp_path / "folder").exists()
    (tmp_path / name).mkdir()
    assert predict(TEXT, "good", "--out", name)[::2] == (0, [])


def test_what_is_no_list_of_texts_is_pointed_to_what_reads_it(predict: Callable[..., Said], tmp_path: Path) -> None:
    code, _, said = predict(TEXT, "-", stdin=b'{"text": "good"}\n{"text": "bad"}\n')
    assert code == 0 and len(said) == 1 and "these are JSON objects" in said[0]
    assert predict(TEXT, "-", stdin=b'{"text": "good"}\n{no}\n')[2] == []
    (tmp_path / "in").mkdir()
    table(tmp_path / "in" / "new table.csv", "id,text,source")
    code, _, said = predict(TEXT, "in")
    assert code == 3 and "It holds tables: give one of them, such as 'in/new table.csv'" in said[0]
    assert predict(TEXT, "in/new table.csv")[0] == 0


def test_what_is_doubtful_of_a_table_is_said(
    predict: Callable[..., Said], capsys: pytest.CaptureFixture[str], models: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_bytes("text\ncaf\xe9 au lait\n".encode("cp1252"))
    (tmp_path / "b.csv").write_text("id,text\n1,a\n2,b,c\n")
    for words, told in (
        (["a.csv"], "read as Windows-1252"),
        (["b.csv", "--set", "data_options.ragged=skip"], "line 3"),
    ):
        assert main(["predict", str(models(TEXT)), "--device", "cpu", *words]) == 0
        assert told in capsys.readouterr().err
