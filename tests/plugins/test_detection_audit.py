"""The audit of boxes: what is removed, put right, told and left alone; strata and facts."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

import graftwork_detection
from graftwork.data.fingerprint import fingerprint
from graftwork.data.splits import complete
from graftwork.interfaces import DataRequest, Finding, Spec, Tables
from graftwork_detection.audit import audit_detection, facts_of, strata
from graftwork_detection.boxes import Objects, look_like_corners, pack, repair, turn, unpack
from graftwork_detection.findings import CODES, Notes
from graftwork_detection.read import read_detection
from graftwork_detection.rows import features
from graftwork_detection.samples import digit_scenes

SIZE = (80, 60)


def encoded(seed: int, size: tuple[int, int] = SIZE, orientation: int = 1) -> bytes:
    """A smooth random picture as a file; different seeds look different."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


def row(seed: int, *objects: tuple[int, Any], **changes: Any) -> dict[str, Any]:
    """A row; an object is its class and its box."""
    return {
        "image": {"bytes": encoded(seed), "path": None},
        "objects": {
            "bbox": [list(box) for _, box in objects],
            "category": [label for label, _ in objects],
            "crowd": [False] * len(objects),
        },
        "origin": f"picture {seed}",
        "width": 0,
        "height": 0,
        **changes,
    }


def tables_of(**splits: list[dict[str, Any]]) -> Tables:
    made = {split: Dataset.from_list(rows, features=features()) for split, rows in splits.items()}
    return Tables(made, (), ("cat", "dog", "fox"))


GOOD = (0, (10, 10, 20, 20))


def audited(tables: Tables) -> tuple[Tables, dict[str, Finding]]:
    made, findings = audit_detection(tables)
    return made, {finding.code: finding for finding in findings}


@pytest.mark.parametrize(
    ("box", "code", "left"),
    [
        ((0, 0, 80, 60), None, (0, 0, 80, 60)),
        ((-0.4, 0, 80.8, 60), None, (0, 0, 80, 60)),
        ((-0.6, 0, 80, 60), "box-partly-outside", (0, 0, 79.4, 60)),
        ((70, 50, 20, 20), "box-partly-outside", (70, 50, 10, 10)),
        ((80, 0, 20, 20), "box-outside-image", None),
        ((-20, 0, 20, 20), "box-outside-image", None),
        ((30, 30, -20, 20), "inverted-box", (10, 30, 20, 20)),
        ((30, 30, -20, -20), "inverted-box", (10, 10, 20, 20)),
        ((30, 30, 0, 20), "zero-area-box", None),
        ((30, 30, 20, 0), "zero-area-box", None),
        ((float("nan"), 30, 20, 20), "non-finite-box", None),
        ((30, 30, float("inf"), 20), "non-finite-box", None),
        ((30, 30, 0.5, 20), "tiny-box", (30, 30, 0.5, 20)),
    ],
)
def test_a_box_is_kept_repaired_or_removed_and_told(box: Any, code: str | None, left: Any) -> None:
    tables, findings = audited(tables_of(train=[row(0, (1, (40, 40, 9, 9)), (0, box))]))
    found = tables.splits["train"][0]["objects"]
    assert found["category"] == [1] if left is None else [1, 0]
    if left is not None:
        assert found["bbox"][1] == pytest.approx(left)
    told = set(findings) - {"empty-class", "few-objects"}
    assert told == ({code} if code else set())
    if code:
        assert findings[code].where[0].startswith("picture 0: cat (")


def test_equal_boxes_are_taken_once_and_those_of_two_classes_or_nearly_equal_ones_kept() -> None:
    same = row(0, GOOD, GOOD, (1, GOOD[1]), (1, (10, 10, 20, 19)), (2, (10, 10, 20, 12)))
    tables, findings = audited(tables_of(train=[same, row(1, GOOD)]))
    assert tables.splits["train"][0]["objects"]["category"] == [0, 1, 1, 2]
    counts = {code: findings[code].count for code in ("duplicate-box", "box-with-two-classes", "near-duplicate-box")}
    assert counts == {"duplicate-box": 1, "box-with-two-classes": 1, "near-duplicate-box": 1}


def test_images_without_objects_stay_and_those_that_lost_all_are_told() -> None:
    tables, findings = audited(tables_of(train=[row(0), row(1, (0, (5, 5, 0, 0))), row(2, GOOD)]))
    assert len(tables.splits["train"]) == 3
    assert findings["empty-image"].where == ("picture 0",)
    assert findings["lost-all-objects"].where == ("picture 1",)


def test_a_split_without_objects_or_readable_images_is_an_error() -> None:
    broken = row(2, GOOD, image={"bytes": b"no picture", "path": None})
    _, findings = audited(tables_of(train=[row(0)], validation=[row(1, GOOD)], test=[broken]))
    assert findings["no-objects"].level == "error"
    assert findings["no-objects"].where == ("train",)
    assert findings["split-without-usable-rows"].level == "error"


def test_one_class_is_enough() -> None:
    tables = tables_of(train=[row(n, GOOD) for n in range(6)])
    _, findings = audited(Tables(tables.splits, (), ("cat",)))
    assert findings == {}


def test_classes_are_counted_by_objects_that_are_scored() -> None:
    crowd = row(9, (1, (1, 1, 9, 9)))
    crowd["objects"]["crowd"] = [True]
    train = [row(n, GOOD, (0, (40, 30, 20, 20))) for n in range(6)] + [row(6, (2, (5, 5, 9, 9))), crowd]
    tables, findings = audited(tables_of(train=train, validation=[row(7, GOOD)]))
    assert facts_of(tables) == {"classes": ["cat", "dog", "fox"], "train_counts": [12, 0, 1]}
    assert findings["empty-class"].where == ("dog",)
    assert findings["few-objects"].where == ("fox (1)",)
    assert findings["label-in-one-split-only"].where == ("fox (only train: 1)",)
    assert findings["class-imbalance"].level == "warning"
    assert "12.0 times" in findings["class-imbalance"].message


def test_widths_that_are_corners_are_told() -> None:
    rng = np.random.default_rng(0)
    first = rng.uniform(10, 40, (12, 2))
    boxes = np.concatenate([first, first + rng.uniform(8, 15, (12, 2))], axis=1)
    wrong = row(0, *[(0, box.tolist()) for box in boxes])
    right = row(1, *[(0, [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]) for box in boxes])
    _, findings = audited(tables_of(train=[wrong], validation=[right]))
    assert findings["boxes-look-like-corners"].where == ("train",)


def test_no_sample_or_empty_split_looks_like_corners() -> None:
    scenes = read_detection(DataRequest("sample:digit-scenes", samples=lambda name: digit_scenes(Spec(name))))
    for rows in scenes.splits.values():
        assert not look_like_corners(unpack(rows), np.full((len(rows), 2), 128))
    assert not look_like_corners(unpack(scenes.splits["train"].select([])), np.empty((0, 2), np.int64))


# --- sizes ----------------------------------------------------------------------------------------------------------------


def test_declared_sizes_give_way_to_the_files_own() -> None:
    rows = [row(0, GOOD, width=800, height=600), row(1, GOOD, width=80, height=60), row(2, GOOD)]
    tables, findings = audited(tables_of(train=rows))
    assert findings["size-disagrees"].where == ("picture 0 (annotated 800×600, file 80×60)",)
    assert set(zip(tables.splits["train"]["width"], tables.splits["train"]["height"], strict=True)) == {SIZE}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_with_their_image_where_it_was_annotated_before_exif(orientation: int) -> None:
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[10:25, 50:58] = 255  # x 50, y 10, 8 wide, 15 high, in the stored picture
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(buffer)))
    ys, xs = np.nonzero(upright[..., 0])
    where = [xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1]
    cell = {"bytes": buffer.getvalue(), "path": None}
    tables, findings = audited(tables_of(train=[row(0, (0, (50, 10, 8, 15)), image=cell, width=80, height=60)]))
    (found,) = tables.splits["train"]
    assert (found["width"], found["height"]) == upright.shape[1::-1]
    if orientation >= 5:
        assert found["objects"]["bbox"] == [where]
        assert findings["boxes-turned"].count == 1
    else:  # the sizes agree, so nothing says in which frame the boxes are
        assert found["objects"]["bbox"] == [[50, 10, 8, 15]]
        assert "boxes-turned" not in findings


def test_boxes_that_fit_the_upright_image_only_are_not_turned() -> None:
    cell = {"bytes": encoded(0, (80, 60), orientation=6), "path": None}
    box = (10, 50, 20, 25)  # reaches 75 pixels down: more than the 60 of the stored picture
    tables, findings = audited(tables_of(train=[row(0, (0, box), image=cell, width=80, height=60)]))
    assert tables.splits["train"][0]["objects"]["bbox"] == [list(box)]
    assert "the boxes fit the upright image only" in findings["size-disagrees"].where[0]


def test_a_quarter_turn_there_and_back_changes_nothing() -> None:
    boxes = np.array([[1.0, 2, 3, 4], [50, 10, 8, 15]])
    there = turn(boxes, Image.Transpose.ROTATE_90, 80, 60)
    assert np.array_equal(turn(there, Image.Transpose.ROTATE_270, 60, 80), boxes)


# --- pictures -------------------------------------------------------------------------------------------------------------


def test_the_same_picture_in_two_splits_is_leakage_and_other_boxes_are_told() -> None:
    train = [row(0, GOOD, (1, (5, 5, 9, 9))), row(1, GOOD)]
    test = [row(0, (1, (5, 5, 9, 9)), GOOD), row(1, (2, GOOD[1]))]
    _, findings = audited(tables_of(train=train, test=test))
    assert findings["duplicate-across-splits"].count == 2
    assert "1 of them with different labels" in findings["duplicate-across-splits"].message
    assert "duplicate-with-other-label" not in findings


def test_the_fingerprint_sees_boxes_and_pictures_but_not_names() -> None:
    first = audited(tables_of(train=[row(0, GOOD)]))[0]
    renamed = audited(tables_of(train=[row(0, GOOD, origin="other")]))[0]
    moved = audited(tables_of(train=[row(0, (0, (10, 10, 20, 21)))]))[0]
    other = audited(tables_of(train=[row(1, GOOD)]))[0]
    assert fingerprint(first) == fingerprint(renamed)
    assert len({fingerprint(tables) for tables in (first, moved, other)}) == 3


def test_an_audited_table_has_nothing_left_to_repair() -> None:
    rows = [row(0, GOOD, GOOD, (1, (70, 50, 20, 20)), (2, (30, 30, -9, -9))), row(1), row(2, GOOD, width=9, height=9)]
    once, _ = audited(tables_of(train=rows))
    twice, findings = audited(once)
    assert twice.splits["train"].to_list() == once.splits["train"].to_list()
    assert not {"duplicate-box", "box-partly-outside", "inverted-box", "size-disagrees"} & set(findings)


def test_a_selection_of_rows_keeps_its_own_objects_and_groups() -> None:
    rows = [row(n, (n % 3, (n, n, 9, 9)), group=str(n)) for n in range(6)]
    data = Dataset.from_list(rows).cast_column("image", features()["image"]).select([4, 1, 3])
    tables, _ = audited(Tables({"train": data}, (), ("cat", "dog", "fox")))
    assert [found["objects"]["bbox"] for found in tables.splits["train"]] == [[[n, n, 9, 9]] for n in (4, 1, 3)]
    assert tables.splits["train"]["group"][:] == ["4", "1", "3"]


# --- strata and facts -----------------------------------------------------------------------------------------------------


def test_a_row_stands_for_its_rarest_class() -> None:
    rows = [
        row(0, (0, GOOD[1]), (0, GOOD[1]), (2, GOOD[1])),
        row(1, (0, GOOD[1])),
        row(2),
        row(3, (1, GOOD[1]), (0, GOOD[1])),
        row(4, (1, GOOD[1]), (2, GOOD[1]), (2, GOOD[1])),
    ]
    data = tables_of(train=rows).splits["train"]
    assert strata(data) == [2, 0, 3, 1, 1]
    assert strata(data.select([2, 1])) == [1, 0]
    assert strata(data.select([])) == []


def test_splits_are_made_by_strata() -> None:
    rows = [row(n, (n % 3, GOOD[1])) if n % 4 else row(n) for n in range(40)]
    splits, _ = complete(tables_of(train=rows).splits, strata, seed=0)
    assert {split: len(found) for split, found in splits.items()} == {"train": 24, "validation": 8, "test": 8}
    assert all(len(set(strata(found))) == 4 for found in splits.values())


# --- properties -----------------------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.floats(-200, 200), st.integers(-100, 200).map(float), st.sampled_from([float("nan"), float("inf"), -1e300])
)
OBJECTS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.tuples(*[NUMBERS] * 4), st.booleans()), max_size=12
)


def objects_of(found: list[Any]) -> Objects:
    found = sorted(found, key=lambda one: one[0])
    rows, classes, boxes, crowd = ([one[part] for one in found] for part in range(4))
    flat = np.array(boxes, np.float64).reshape(-1, 4)
    return Objects(np.array(rows, np.int64), flat, np.array(classes, np.int64), np.array(crowd, np.bool_), 4)


@given(OBJECTS)
def test_whatever_boxes_come_those_left_lie_inside_and_stay(found: list[Any]) -> None:
    sizes = np.array([[80, 60], [1, 1], [640, 480], [3, 900]])
    notes = Notes()
    once = repair(objects_of(found), sizes, notes, lambda objects, place: "x")
    assert np.isfinite(once.boxes).all()
    assert (once.boxes[:, 2:] > 0).all()
    assert (once.boxes[:, :2] >= 0).all()
    assert (once.boxes[:, :2] + once.boxes[:, 2:] <= sizes[once.rows] + 1e-9).all()
    again = repair(once, sizes, Notes(), lambda objects, place: "x")
    assert np.allclose(again.boxes, once.boxes)
    removed = {"non-finite-box", "zero-area-box", "box-outside-image", "duplicate-box"}
    gone = sum(finding.count for finding in notes.findings() if finding.code in removed)
    assert gone == len(found) - len(once.rows)


@given(OBJECTS)
def test_packed_objects_are_unpacked_as_they_were(found: list[Any]) -> None:
    objects = objects_of(found)
    data = Dataset(pa.table({"objects": pack(objects)}))
    back = unpack(data)
    for part in ("rows", "boxes", "classes", "crowd"):
        assert np.array_equal(getattr(back, part), getattr(objects, part), equal_nan=part == "boxes")
    assert back.count == objects.count


def test_every_code_is_told_in_a_sentence() -> None:
    assert all(level in ("error", "warning", "note") and message for level, message in CODES.values())
    sources = "".join(file.read_text() for file in Path(graftwork_detection.__file__).parent.glob("*.py"))
    assert [code for code in CODES if sources.count(f'"{code}"') < 2] == []
