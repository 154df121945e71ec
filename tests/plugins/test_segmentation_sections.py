"""The report's part on segmentation: what is told and drawn, worst first, and what is left out where facts are missing."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Value
from datasets import Image as ImageCell
from PIL import Image

from graftwork.interfaces import Batch, Evaluation, Facts, Figure, Pictures, Section, Table, Text
from graftwork.report.page import draw_sections
from graftwork.vision.draw import class_colours
from graftwork_segmentation.decode import decode_masks, draw_segmentation
from graftwork_segmentation.metrics import SegmentationMetrics
from graftwork_segmentation.sections import segmentation_sections

NAMES = ["sky", "猫" * 90 + "\n", "_$never$"]
FACTS: Facts = {"classes": NAMES, "train_counts": [3000, 400, 0]}
MAP = json.dumps({"7": 0, "9": 1, "0": 255})
COLUMNS = Features(
    {
        "image": ImageCell(decode=False),
        "mask": ImageCell(decode=False),
        "mask_map": Value("string"),
        "origin": Value("string"),
    }
)


def png(values: np.ndarray) -> bytes:
    target = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(target, format="PNG")
    return target.getvalue()


def make_masks() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Truth and prediction of four pictures: all right, half wrong, nothing scored, all wrong."""
    true = torch.zeros(4, 30, 40, dtype=torch.uint8)
    true[:, 15:], true[:, :, 30:], true[2] = 1, 255, 255
    said = true.clone()
    said[:, :, 30:], said[2] = 0, 1
    said[1, :15], said[3] = 1, 1 - (true[3] > 0).to(torch.uint8)
    return list(true), list(said)


def make_rows(images: Sequence[Mapping[str, Any]] | None = None) -> Dataset:
    true, _ = make_masks()
    files = torch.tensor([7, 9])
    masks = [png(torch.where(mask == 255, 0, files[mask.clamp(max=1).long()]).numpy()) for mask in true]
    picture = {"bytes": png(np.full((30, 40, 3), 128)), "path": "a.png"}
    lines = [
        {"image": images[at] if images else picture, "mask": {"bytes": mask, "path": None}, "mask_map": MAP,
         "origin": f"photos/{at}.png"} for at, mask in enumerate(masks)
    ]  # fmt: skip
    return Dataset.from_list(lines, features=COLUMNS)


def evaluate(rows: Dataset | None) -> Evaluation:
    """The evaluation, details and predictions as they come back from a run directory."""
    true, said = make_masks()
    predictions = [{"mask": mask} for mask in said]
    metrics = SegmentationMetrics(FACTS, torch.device("cpu"))
    metrics.update(predictions, Batch(torch.arange(4), {}, [{"mask": mask} for mask in true]))
    kept = [
        {"row": at, "origin": f"photos/{at}.png", "mask": row["mask"], "shares": json.dumps(row["shares"])}
        for at, row in enumerate(decode_masks(predictions, FACTS))
    ]
    return Evaluation("test", metrics.compute(), json.loads(json.dumps(metrics.details())), kept, rows)


def by_title(sections: Sequence[Section]) -> dict[str, Section]:
    return {section.title: section for section in sections}


def test_the_worst_pictures_come_first_with_what_was_mistaken() -> None:
    told, pictures = by_title(segmentation_sections(evaluate(make_rows()), FACTS))["Worst pictures"].blocks
    assert isinstance(told, Text)
    assert isinstance(pictures, Pictures)
    captions = [caption for _, caption in pictures.images]
    cat = "猫" * 23 + "…"
    assert captions == [
        f"photos/3.png · mean IoU 0.00 · of its pixels 50 % sky taken for {cat}, 50 % {cat} taken for sky",
        f"photos/1.png · mean IoU 0.25 · of its pixels 50 % sky taken for {cat}",
        "photos/0.png · mean IoU 1.00",
    ]


def test_truth_prediction_and_errors_are_laid_over_the_picture() -> None:
    [_, pictures] = by_title(segmentation_sections(evaluate(make_rows()), FACTS))["Worst pictures"].blocks
    assert isinstance(pictures, Pictures)
    image = np.asarray(pictures.images[1][0]).astype(int)
    width = 320
    strip, gap = image.shape[0] - 240, (image.shape[1] - 4 * width) // 3
    plain, true, said, errors = (image[strip:, at * (width + gap) : at * (width + gap) + width] for at in range(4))
    upper, lower, void = (60, 100), (180, 100), (60, 290)
    sky, cat = (0.45 * 128 + 0.55 * np.asarray(colour) for colour in class_colours(2))
    assert plain[upper] == pytest.approx([128] * 3)
    assert true[upper] == pytest.approx(sky, abs=2)
    assert true[lower] == pytest.approx(cat, abs=2)
    assert true[void] == pytest.approx([128] * 3)
    assert said[upper] == pytest.approx(cat, abs=2)
    assert said[lower] == pytest.approx(cat, abs=2)
    assert errors[upper][0] > errors[upper][2] + 100  # orange
    assert errors[lower] == pytest.approx([77] * 3, abs=2)
    assert errors[void].min() > 200


def test_every_class_has_its_line_and_its_bar() -> None:
    sections = by_title(segmentation_sections(evaluate(None), FACTS))
    figure, table = sections["Classes"].blocks
    assert isinstance(figure, Figure)
    assert len(figure.figure.axes[0].patches) == 2
    assert isinstance(table, Table)
    assert [row[3:] for row in table.rows] == [(1350, "50.0 %", 3000), (1350, "50.0 %", 400), (0, "0.0 %", 0)]
    assert table.rows[2][1:3] == (None, None)
    matrix, _, confusions = sections["Confusion matrix"].blocks
    assert isinstance(matrix, Figure)
    assert isinstance(confusions, Table)
    assert [row[2:] for row in confusions.rows] == [(900, "67 %"), (450, "33 %")]


def test_parts_whose_facts_are_missing_are_left_out(tmp_path: Path) -> None:
    whole = evaluate(make_rows())
    assert segmentation_sections(Evaluation("test", {}, {}, [], None), FACTS) == []
    assert segmentation_sections(Evaluation("test", {}, {}, whole.predictions, whole.rows), FACTS) == []
    gone = by_title(segmentation_sections(evaluate(None), FACTS))["Worst pictures"].blocks
    assert isinstance(gone[0], Text)
    assert "no longer" in gone[0].text


def test_a_picture_that_is_gone_is_skipped(tmp_path: Path) -> None:
    images = [{"bytes": None, "path": str(tmp_path / f"{at}.png")} for at in range(4)]
    rows = make_rows(images)
    [only] = by_title(segmentation_sections(evaluate(rows), FACTS))["Worst pictures"].blocks
    assert isinstance(only, Text)
    (tmp_path / "1.png").write_bytes(png(np.full((30, 40, 3), 128)))
    (tmp_path / "3.png").write_bytes(b"no picture")
    [_, pictures] = by_title(segmentation_sections(evaluate(rows), FACTS))["Worst pictures"].blocks
    assert isinstance(pictures, Pictures)
    assert [caption.split(" ")[0] for _, caption in pictures.images] == ["photos/1.png"]


@pytest.mark.filterwarnings("error")
def test_the_sections_become_a_page() -> None:
    drawn = draw_sections(segmentation_sections(evaluate(make_rows()), FACTS))
    assert [section["title"] for section in drawn] == ["Classes", "Confusion matrix", "Worst pictures"]


def test_of_many_classes_the_lowest_are_shown() -> None:
    lines = [
        {"class": f"class {at}", "iou": at / 150 if at % 2 else None, "accuracy": 0.5, "pixels": at % 2,
         "predicted_pixels": 1} for at in range(150)
    ]  # fmt: skip
    details = {"per_class": lines, "confusion": np.eye(150, dtype=int).tolist()}
    many: Facts = {"classes": [line["class"] for line in lines], "train_counts": [1] * 150}
    classes, confusion = segmentation_sections(Evaluation("test", {}, details, [], None), many)
    text, _, table = classes.blocks
    assert isinstance(text, Text)
    assert "60 of 150" in text.text
    assert isinstance(table, Table)
    assert table.rows[0][0] == "class 1"
    assert [type(block) for block in confusion.blocks] == [Text]


def test_a_prediction_is_drawn_over_its_picture_with_its_classes_named() -> None:
    row = make_rows()[1]
    image = draw_segmentation(row, evaluate(None).predictions[1], FACTS)
    pixels = np.asarray(image)
    assert image.width == 320
    assert image.height > 240
    sky, cat = (0.45 * 128 + 0.55 * np.asarray(colour) for colour in class_colours(2))
    assert pixels[60, 100] == pytest.approx(cat, abs=2)
    assert pixels[180, 300] == pytest.approx(sky, abs=2)
    assert {tuple(colour) for colour in pixels[240:].reshape(-1, 3).tolist()} >= set(class_colours(2))
    assert draw_segmentation(row, {"mask": None}, FACTS) is None
