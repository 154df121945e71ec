"""The task `segmentation`: joins reading, audit, examples, metrics and report sections. Each lives in its file."""

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
from graftwork_segmentation.examples import SegmentationExamples

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image


class Segmentation(Task):
    """A class for every pixel. Columns: `image` and `mask` ({bytes, path}), and `mask_map`, what a mask's values mean."""

    primary_metric = "mean_iou"
    head_facts = frozenset({"train_counts"})
    one_class_a_row = False

    def __init__(self, options: FrameOptions) -> None:
        self.options = options

    def read(self, request: DataRequest) -> Tables:
        from graftwork_segmentation.read import read_segmentation

        return read_segmentation(request)

    def strata(self, rows: Dataset) -> Sequence[int]:
        """The class of each picture that has the fewest pixels over all."""
        from graftwork_segmentation.audit import strata

        return strata(rows)

    def contents(self, rows: Dataset) -> Sequence[str]:
        """What the file of each picture holds."""
        from graftwork.vision.alike import picture_contents

        return picture_contents(rows.select_columns("image"))

    def alike(self, rows: Dataset) -> Sequence[str]:
        """Pictures that are the same or nearly so; each is looked at."""
        from graftwork.vision.alike import alike_pictures

        return alike_pictures(rows)

    def audit(self, tables: Tables) -> tuple[Tables, list[Finding]]:
        from graftwork_segmentation.audit import audit_segmentation

        return audit_segmentation(tables)

    def facts(self, tables: Tables) -> Facts:
        """`classes`: names by index; `train_counts`: training pixels of each."""
        from graftwork_segmentation.audit import facts_of

        return {**facts_of(tables), **range_fact(tables.splits.get("train"))}

    def align(self, tables: Tables, facts: Facts) -> Tables:
        from graftwork_segmentation.align import align

        return align(tables, facts)

    def examples(self, rows: Dataset, input: Any, facts: Facts, train: bool) -> Examples:
        return SegmentationExamples(rows, input, self.options, train, ranges_of(facts))

    def metrics(self, facts: Facts, device: torch.device) -> Metrics:
        from graftwork_segmentation.metrics import SegmentationMetrics

        return SegmentationMetrics(facts, device)

    def chance(self, facts: Facts) -> float:
        """Every pixel the most frequent class: its share of the pixels is its IoU, that of the others that occur is 0."""
        counts = [count for count in facts["train_counts"] if count]
        return float(max(counts) / sum(counts) / len(counts)) if counts else 0.0

    def decode(self, predictions: Predictions, facts: Facts) -> list[dict[str, Any]]:
        """A row: `mask`, a PNG of class indices (its palette shows them), and `shares`, each class's share of the pixels."""
        from graftwork_segmentation.decode import decode_masks

        return decode_masks(predictions, facts)

    def read_inputs(self, inputs: Sequence[str], facts: Facts) -> Dataset:
        from graftwork.vision.inputs import read_inputs

        return read_inputs(inputs, facts)

    def draw(self, row: Mapping[str, Any], prediction: Mapping[str, Any], facts: Facts) -> Image | None:
        from graftwork_segmentation.decode import draw_segmentation

        picture: Image = draw_segmentation(row, prediction, facts)
        return picture

    def sections(self, evaluation: Evaluation, facts: Facts) -> list[Section]:
        from graftwork_segmentation.sections import segmentation_sections

        return segmentation_sections(evaluation, facts)


def build(spec: Spec) -> Task:
    """The task `segmentation`."""
    return Segmentation(FrameOptions.of(spec.options))
