"""`graft predict` on what people really have: damaged files among good ones, lines of stdin, tables with columns of their own."""

from __future__ import annotations

import io
import json
import lzma
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graftwork.cli import main

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
    code, out, said = predict(task, "-", stdin=b"empty.png\n")
    assert code == 3 and not out and "a line of standard input is a text" in said[0]


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
