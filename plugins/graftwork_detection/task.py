"""The task `detection`: joins reading, audit, examples, metrics and report sections. Each lives in its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from graftwork.interfaces import (
    DataRequest,
    Evaluation,
    Examples,
    Facts,
    Finding,
    Metrics,
    Predictions,
    Section,
    Spec,
    Tables,
    Task,
)
from graftwork.vision.frames import FrameOptions
from graftwork.vision.levels import range_fact, ranges_of
from graftwork_detection.examples import DetectionExamples

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image


class Detection(Task):
    """Boxes with a class each. Columns: `image` ({bytes, path}) and `objects` (bbox as in COCO, class index, crowd)."""

    primary_metric = "map"
    head_facts = frozenset({"train_counts"})
    decides = True
    one_class_a_row = False
    carried = ("image_id",)

    def __init__(self, options: FrameOptions) -> None:
        self.options = options

    def read(self, request: DataRequest) -> Tables:
        from graftwork_detection.read import read_detection

        return read_detection(request)

    def strata(self, rows: Dataset) -> Sequence[int]:
        """The class of each picture that has the fewest objects over all; an index of its own for pictures without any."""
        from graftwork_detection.audit import strata

        return strata(rows)

    def contents(self, rows: Dataset) -> Sequence[str]:
        """What the file of each picture holds."""
        from graftwork.vision.alike import picture_contents

        return picture_contents(rows)

    def alike(self, rows: Dataset) -> Sequence[str]:
        """Pictures that are the same or nearly so; each is looked at."""
        from graftwork.vision.alike import alike_pictures

        return alike_pictures(rows)

    def audit(self, tables: Tables) -> tuple[Tables, list[Finding]]:
        from graftwork_detection.audit import audit_detection

        return audit_detection(tables)

    def facts(self, tables: Tables) -> Facts:
        """`classes`: names by index; `train_counts`: training objects of each; `category_ids`: what the data numbers them."""
        from graftwork_detection.audit import facts_of

        return {**facts_of(tables), **range_fact(tables.splits.get("train"))}

    def align(self, tables: Tables, facts: Facts) -> Tables:
        from graftwork_detection.align import align

        return align(tables, facts)

    def examples(self, rows: Dataset, input: Any, facts: Facts, train: bool) -> Examples:
        return DetectionExamples(rows, input, self.options, train, ranges_of(facts))

    def metrics(self, facts: Facts, device: torch.device) -> Metrics:
        from graftwork_detection.metrics import DetectionMetrics

        return DetectionMetrics(facts, device)

    def decide(self, metrics: Metrics, facts: Facts) -> Facts:
        """Adds `threshold`, the score with the best F1 at an overlap of half; pictures show what is above it."""
        threshold = metrics.details().get("threshold")
        return facts if threshold is None else {**facts, "threshold": threshold}

    def decode(self, predictions: Predictions, facts: Facts) -> list[dict[str, Any]]:
        """A row: `objects`, each with `category`, `category_id`, `bbox` (x, y, width, height in pixels) and `score`."""
        from graftwork_detection.decode import decode_objects

        return decode_objects(predictions, facts)

    def read_inputs(self, inputs: Sequence[str], facts: Facts) -> Dataset:
        """Pictures, folders of them, and COCO files, which stand for the pictures that they list."""
        from graftwork_detection.inputs import read_pictures

        return read_pictures(inputs, facts)

    def draw(self, row: Mapping[str, Any], prediction: Mapping[str, Any], facts: Facts) -> Image | None:
        from graftwork_detection.decode import draw_detection

        picture: Image = draw_detection(row, prediction, facts)
        return picture

    def sections(self, evaluation: Evaluation, facts: Facts) -> list[Section]:
        from graftwork_detection.sections import detection_sections

        return detection_sections(evaluation, facts)


def build(spec: Spec) -> Task:
    """The task `detection`."""
    return Detection(FrameOptions.of(spec.options))
