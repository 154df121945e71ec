"""What is said of a row is the same alone and beside others, whatever the batch and the order."""

from __future__ import annotations

import json
import lzma
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graftwork.catalogue import load_catalogue
from graftwork.runs.predict import Predictor, open_predictor
from graftwork.testing.company import Row, check_same_row, predicted, spread
from graftwork.testing.subjects import Subject, assemble

ARTIFACTS = Path(__file__).parents[1] / "artifacts" / "0.1.0"
CATALOGUE = load_catalogue()
HEADS = [(task, head) for head, entry in CATALOGUE.entries["heads"].items() for task in entry.tasks]

SHAPES = ((96, 128), (128, 96), (128, 128), (60, 200), (200, 60), (97, 131), (300, 40), (160, 224), (64, 64), (33, 250))


def pictures(folder: Path, count: int) -> list[str]:
    """Noise with squares in it, PNG files of the shapes in turn."""
    drawn = np.random.default_rng(0)
    folder.mkdir()
    names = []
    for number in range(count):
        height, width = SHAPES[number % len(SHAPES)]
        pixels = drawn.integers(90, 130, (height, width, 3), dtype=np.uint8)
        for _ in range(3):
            top, left = int(drawn.integers(height - 20)), int(drawn.integers(width - 20))
            pixels[top : top + 20, left : left + 20] = drawn.integers(0, 256, 3)
        names.append(str(folder / f"{number:02d}.png"))
        Image.fromarray(pixels).save(names[-1])
    return names


def texts(count: int) -> list[str]:
    """Words of ten lengths in turn, no two texts alike."""
    drawn = random.Random(0)
    words = [
        "the",
        "parcel",
        "came",
        "late",
        "nice",
        "lamp",
        "light",
        "when",
        "will",
        "my",
        "card",
        "be",
        "sent",
        "again",
    ]
    return [" ".join(drawn.choice(words) for _ in range(1 + 3 * (number % 10))) for number in range(count)]


def inputs_for(task: str, folder: Path, count: int) -> list[str]:
    return texts(count) if task == "text-classification" else pictures(folder / "pictures", count)


@pytest.fixture(params=["image-classification", "text-classification", "detection", "segmentation"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Predictor]]:
    """A trained model of the task, in the precision that `graft predict` takes here."""
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(ARTIFACTS / request.param / "model.json", folder)
    weights = (ARTIFACTS / request.param / "model.safetensors.xz").read_bytes()
    (folder / "model.safetensors").write_bytes(lzma.decompress(weights))
    with open_predictor(folder, CATALOGUE, "cpu") as (predictor, _):
        yield request.param, predictor


def test_a_trained_model_says_the_same_of_an_input_alone_and_in_a_folder(
    kept: tuple[str, Predictor], tmp_path: Path
) -> None:
    task, predictor = kept
    inputs = inputs_for(task, tmp_path, 11)
    together = list(predictor.predict(inputs))
    backwards = list(predictor.predict(inputs[::-1]))[::-1]
    alone = [said for one in inputs for said in predictor.predict([one])]
    assert [said["input"] for said in together] == inputs
    assert task != "detection" or sum(len(said["objects"]) for said in together) > 20
    for company in (together, backwards):
        for said, expected in zip(company, alone, strict=True):
            assert_told_alike(said, expected)


def assert_told_alike(said: Any, expected: Any) -> None:
    """The same names, labels and files; numbers within 1e-5 of themselves or of 1."""
    if isinstance(expected, dict):
        assert list(said) == list(expected)
        for name, value in expected.items():
            assert_told_alike(said[name], value)
    elif isinstance(expected, list):
        assert len(said) == len(expected)
        for pair in zip(said, expected, strict=True):
            assert_told_alike(*pair)
    elif isinstance(expected, float):
        assert said == pytest.approx(expected, abs=1e-5, rel=1e-5)
    else:
        assert said == expected


@pytest.mark.acceptance
@pytest.mark.parametrize(("task", "head"), HEADS)
def test_thirty_rows_of_ten_sizes_are_predicted_alike_in_nine_companies(task: str, head: str, tmp_path: Path) -> None:
    subject = assemble(CATALOGUE, task, head=head)
    model = spread(subject.model(7))
    rows = subject.task.read_inputs(inputs_for(task, tmp_path, 30), subject.facts)
    alone = [predicted(subject, model, rows.select([number]), 1)[0] for number in range(30)]
    _differ(alone)
    for size in (2, 5, 16):
        for seed in (0, 1, 2):
            order = list(range(30)) if not seed else random.Random(seed).sample(range(30), 30)
            for number, said in zip(order, predicted(subject, model, rows.select(order), size), strict=True):
                check_same_row(said, alone[number], f"{head}, row {number} in batches of {size}, order {seed}")
                _told_the_same(subject, said, alone[number])


def _told_the_same(subject: Subject, said: Row, expected: Row) -> None:
    """The label that is told, where there is one."""
    one, other = (subject.task.decode(_as_batch(row), subject.facts)[0] for row in (said, expected))
    assert one.get("label") == other.get("label")


def _as_batch(row: Row) -> Any:
    return [row] if {"mask", "boxes"} & row.keys() else row


def _differ(alone: list[Row]) -> None:
    """A model that says the same of every row would be no witness."""
    assert len({json.dumps({name: value.tolist() for name, value in row.items()}) for row in alone}) > 10
