"""The report's part on detection: what is told and drawn, worst first, and what is left out where facts are missing."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, List, Value
from datasets import Image as ImageCell
from PIL import Image

from graftwork.interfaces import Batch, Evaluation, Facts, Figure, Pictures, Section, Table, Text
from graftwork.report.page import draw_sections
from graftwork.vision.draw import AGREED, TEXT, UNSCORED, WRONG
from graftwork_detection.curves import precision_recall_figure
from graftwork_detection.decode import box_text, decode_objects, draw_detection
from graftwork_detection.metrics import DetectionMetrics
from graftwork_detection.sections import detection_sections

NAMES = ["cup", "猫" * 90 + "\n", "_$never$"]
FACTS: Facts = {"classes": NAMES, "train_counts": [30, 4, 0]}
COLUMNS = Features(
    {
        "image": ImageCell(decode=False),
        "objects": {
            "bbox": List(List(Value("float64"))),
            "category": List(Value("int64")),
            "crowd": List(Value("bool")),
        },
        "origin": Value("string"),
    }
)
Object = tuple[list[float], int, bool]
Said = tuple[list[float], int, float]

TRUTH: list[list[Object]] = [
    [([20, 20, 60, 60], 0, False), ([120, 20, 60, 60], 1, False)],  # both found
    [([20, 20, 60, 60], 0, False), ([120, 20, 60, 60], 1, False)],  # one missed, two false alarms
    [],  # empty, and nothing said
    [([20, 20, 60, 60], 0, False)],  # missed
    [([20, 20, 60, 60], 0, False), ([100, 20, 90, 90], 0, True)],  # found; a box in the crowd
]
SAID: list[list[Said]] = [
    [([20, 20, 60, 60], 0, 0.9), ([120, 20, 62, 60], 1, 0.8)],
    [([20, 22, 60, 60], 0, 0.95), ([20, 120, 30, 30], 1, 0.92), ([90, 120, 30, 30], 0, 0.92), ([0, 0, 9, 9], 0, 0.01)],
    [],
    [],
    [([20, 20, 60, 60], 0, 0.9), ([120, 40, 20, 20], 0, 0.85)],
]


def png(value: int = 128) -> bytes:
    target = io.BytesIO()
    Image.fromarray(np.full((240, 320, 3), value, dtype=np.uint8)).save(target, format="PNG")
    return target.getvalue()


def make_rows(images: Sequence[Mapping[str, Any]] | None = None) -> Dataset:
    images = images or [{"bytes": png(), "path": f"{at}.png"} for at in range(len(TRUTH))]
    lines = [
        {
            "image": images[at],
            "objects": {name: [one[part] for one in row] for part, name in enumerate(("bbox", "category", "crowd"))},
            "origin": f"photos/{at}.png",
        }
        for at, row in enumerate(TRUTH)
    ]
    return Dataset.from_list(lines, features=COLUMNS)


def xyxy(boxes: list[list[float]]) -> torch.Tensor:
    found = torch.tensor(boxes).reshape(-1, 4)
    return torch.cat([found[:, :2], found[:, :2] + found[:, 2:]], dim=1)


def evaluate(rows: Dataset | None, as_text: bool = True, said: list[list[Said]] = SAID) -> Evaluation:
    """The evaluation of what was said, details and predictions as they come back from a run directory."""
    predictions = [
        {"boxes": xyxy([one[0] for one in row]), "labels": torch.tensor([one[1] for one in row], dtype=torch.int64),
         "scores": torch.tensor([one[2] for one in row])} for row in said
    ]  # fmt: skip
    targets = [
        {"boxes": xyxy([one[0] for one in row]), "labels": torch.tensor([one[1] for one in row], dtype=torch.int64),
         "crowd": torch.tensor([one[2] for one in row], dtype=torch.bool)} for row in TRUTH
    ]  # fmt: skip
    metrics = DetectionMetrics(FACTS, torch.device("cpu"))
    metrics.update(predictions, Batch(torch.arange(len(TRUTH)), {}, targets))
    kept = [
        {"row": at, "origin": f"photos/{at}.png", "objects": json.dumps(row["objects"]) if as_text else row["objects"]}
        for at, row in enumerate(decode_objects(predictions, FACTS))
    ]
    return Evaluation("test", metrics.compute(), json.loads(json.dumps(metrics.details())), kept, rows)


def by_title(sections: Sequence[Section]) -> dict[str, Section]:
    return {section.title: section for section in sections}


def colours_of(image: Any) -> set[tuple[int, ...]]:
    return {tuple(colour) for colour in np.asarray(image).reshape(-1, 3).tolist()}


def test_the_worst_pictures_come_first_with_their_mistakes_told() -> None:
    told, pictures = by_title(detection_sections(evaluate(make_rows()), FACTS))["Worst pictures"].blocks
    assert isinstance(told, Text)
    assert "2 of 5 pictures" in told.text
    assert isinstance(pictures, Pictures)
    captions = [caption for _, caption in pictures.images]
    assert captions[0] == "photos/3.png · F1 0.00 · missed: 1 × cup"
    cat = "猫" * 23 + "…"
    assert captions[1] == f"photos/1.png · F1 0.40 · missed: 1 × {cat} · false alarms: 1 × {cat}, 1 × cup"
    assert len(captions) == 2


def test_right_boxes_missed_objects_and_false_alarms_have_their_colours() -> None:
    [_, pictures] = by_title(detection_sections(evaluate(make_rows()), FACTS))["Worst pictures"].blocks
    assert isinstance(pictures, Pictures)
    nothing_said, mixed = (np.asarray(image) for image, _ in pictures.images)
    middle = nothing_said.shape[1] // 2
    assert WRONG in colours_of(nothing_said[:, :middle])
    assert not {WRONG, AGREED} & colours_of(nothing_said[:, middle:])
    for half in (mixed[:, :middle], mixed[:, middle:]):
        assert {WRONG, AGREED} <= colours_of(half)


def test_a_crowd_and_what_lies_in_it_are_grey() -> None:
    said = [*SAID[:4], [([120, 40, 20, 20], 0, 0.85)]]
    [_, pictures] = by_title(detection_sections(evaluate(make_rows(), said=said), FACTS))["Worst pictures"].blocks
    assert isinstance(pictures, Pictures)
    [image] = [np.asarray(image) for image, caption in pictures.images if caption.startswith("photos/4")]
    middle = image.shape[1] // 2
    assert {WRONG, UNSCORED} <= colours_of(image[:, :middle])
    assert UNSCORED in colours_of(image[:, middle:])
    assert WRONG not in colours_of(image[:, middle:])


def test_the_table_names_every_class_and_the_curve_those_with_objects() -> None:
    sections = by_title(detection_sections(evaluate(None), FACTS))
    [table] = sections["Classes"].blocks
    assert isinstance(table, Table)
    assert [row[4:] for row in table.rows] == [(4, 30), (2, 4), (0, 0)]
    assert table.rows[2][1:4] == (None, None, None)
    [figure] = sections["Precision and recall"].blocks
    assert isinstance(figure, Figure)
    assert len(figure.figure.axes[0].lines) == 3  # two classes and their mean
    text, sizes = sections["Found and missed by size"].blocks
    assert isinstance(text, Text)
    assert isinstance(sizes, Table)
    assert [row[:4] for row in sizes.rows] == [("small", 0, 0, 0), ("medium", 6, 4, 2), ("large", 0, 0, 0)]


def test_objects_are_read_from_json_text_and_from_lists() -> None:
    titles = []
    for as_text in (True, False):
        [_, pictures] = by_title(detection_sections(evaluate(make_rows(), as_text), FACTS))["Worst pictures"].blocks
        assert isinstance(pictures, Pictures)
        titles.append([caption for _, caption in pictures.images])
    assert titles[0] == titles[1]


def test_parts_whose_facts_are_missing_are_left_out() -> None:
    whole = evaluate(make_rows())
    assert detection_sections(Evaluation("test", {}, {}, [], None), FACTS) == []
    [only] = detection_sections(Evaluation("test", {}, {}, whole.predictions, whole.rows), FACTS)
    assert only.title == "Worst pictures"
    gone = by_title(detection_sections(evaluate(None), FACTS))["Worst pictures"].blocks
    assert isinstance(gone[0], Text)
    assert "no longer" in gone[0].text


def test_a_picture_that_is_gone_is_skipped(tmp_path: Path) -> None:
    images = [{"bytes": None, "path": str(tmp_path / f"{at}.png")} for at in range(5)]
    (tmp_path / "1.png").write_bytes(png())
    (tmp_path / "3.png").write_bytes(b"no picture")
    [_, pictures] = by_title(detection_sections(evaluate(make_rows(images)), FACTS))["Worst pictures"].blocks
    assert isinstance(pictures, Pictures)
    assert [caption.split(" ")[0] for _, caption in pictures.images] == ["photos/1.png"]


def test_where_all_is_right_there_is_no_worst_picture() -> None:
    perfect: list[list[Said]] = [[(box, label, 1.0) for box, label, crowd in row if not crowd] for row in TRUTH]
    [told] = by_title(detection_sections(evaluate(make_rows(), said=perfect), FACTS))["Worst pictures"].blocks
    assert isinstance(told, Text)
    assert told.text.startswith("There is none")


@pytest.mark.filterwarnings("error")
def test_the_sections_become_a_page() -> None:
    drawn = draw_sections(detection_sections(evaluate(make_rows()), FACTS))
    assert [section["title"] for section in drawn][:2] == ["Classes", "Precision and recall"]
    assert "never" not in drawn[1]["blocks"][0]["svg"]


def test_many_classes_are_drawn_without_names_and_the_table_shows_the_lowest() -> None:
    lines = [
        {"class": f"class {at}", "objects": at % 2, "ap": at / 100 if at % 2 else None, "ap_50": at / 100, "ar": 0.5,
         "precision": [0.5] * 101 if at % 2 else None} for at in range(100)
    ]  # fmt: skip
    recalls = [at / 100 for at in range(101)]
    details = {"per_class": lines, "recalls": recalls}
    many: Facts = {"classes": [line["class"] for line in lines], "train_counts": [1] * 100}
    classes, curves = detection_sections(Evaluation("test", {}, details, [], None), many)
    text, table = classes.blocks
    assert isinstance(text, Text)
    assert "50 of 100" in text.text
    assert isinstance(table, Table)
    assert table.rows[0][0] == "class 1"
    assert len(curves.blocks) == 1
    figure = precision_recall_figure(recalls, [line for line in lines if line["precision"]])
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["mean of 50 classes, AP50 0.50"]


def test_a_prediction_is_drawn_from_the_threshold_on() -> None:
    row = make_rows()[1]
    prediction = evaluate(None).predictions[1]
    plain = np.asarray(draw_detection(row, {"objects": []}, FACTS))
    all_boxes = np.asarray(draw_detection(row, prediction, {**FACTS, "threshold": 0.0}))
    usual = np.asarray(draw_detection(row, prediction, FACTS))
    sure = np.asarray(draw_detection(row, prediction, {**FACTS, "threshold": 0.93}))
    drawn = [(image != plain).any(axis=2).sum() for image in (sure, usual, all_boxes)]
    assert drawn == sorted(set(drawn))
    assert drawn[0] > 0


def test_a_long_name_leaves_room_for_the_score_on_a_box() -> None:
    assert box_text("cup", 0.934) == "cup: 0.93"
    assert box_text(NAMES[1], 0.5) == "猫" * 17 + "…: 0.50"
    assert len(box_text(NAMES[1], 1.0)) <= TEXT
