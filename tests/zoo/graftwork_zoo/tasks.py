"""Tasks that are right, by first-party code with its options settled; and tasks that differ from them in one method."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor

from graftwork.classification.metrics import ClassificationMetrics
from graftwork.interfaces import Batch, DataRequest, Examples, Facts, Finding, Metrics, Predictions, Spec, Tables, Task
from graftwork.vision.frames import FrameOptions
from graftwork_detection.examples import DetectionExamples
from graftwork_detection.task import Detection
from graftwork_images.examples import ImageExamples, ImageOptions
from graftwork_images.task import ImageClassification
from graftwork_segmentation.task import Segmentation

_IMAGES = ImageOptions(augment="light", flip=False, train_size=0, mixup=0.0, cutmix=0.0)
_FRAMES = FrameOptions(size=32, longest=64, augment="light", flip="horizontal")


class TamePictures(ImageClassification):
    """A class for a picture."""

    kind: ClassVar[type[ImageExamples]] = ImageExamples

    def __init__(self) -> None:
        super().__init__(_IMAGES)

    def examples(self, rows: Dataset, input: Any, facts: Facts, train: bool) -> Examples:
        return self.kind(rows, input, len(facts["classes"]), self.options, train)


class TameDetection(Detection):
    """Boxes in a picture."""

    def __init__(self) -> None:
        super().__init__(_FRAMES)


class TameSegmentation(Segmentation):
    """A class for every pixel."""

    def __init__(self) -> None:
        super().__init__(_FRAMES)


class RandomEvaluation(TamePictures):
    def examples(self, rows: Dataset, input: Any, facts: Facts, train: bool) -> Examples:
        return super().examples(rows, input, facts, True)


class _Brightened(ImageExamples):
    def load(self, row: int) -> Any:
        pixels, label, move = super().load(row)
        return (pixels.int() + random.randint(0, 60)).clamp(0, 255).to(torch.uint8), label, move


class _OnceMirrored(ImageExamples):
    def read_once(self) -> Examples:
        return _Mirrored(self)


class _Mirrored(Examples):
    def __init__(self, source: Examples) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def load(self, row: int) -> Any:
        pixels, label, move = self._source.load(row)
        return pixels.flip(-1), label, move

    def collate(self, rows: Sequence[int], examples: Sequence[Any]) -> Batch:
        return self._source.collate(rows, examples)  # type: ignore[no-any-return]


class OnceMirrored(TamePictures):
    kind = _OnceMirrored


class UnseededTransform(TamePictures):
    kind = _Brightened


class _WithClosure(ImageExamples):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._turn: Callable[[Any], Any] = lambda example: example

    def load(self, row: int) -> Any:
        return self._turn(super().load(row))


class PickledClosure(TamePictures):
    kind = _WithClosure


class _Leaking(ImageExamples):
    opened: ClassVar[list[Any]] = []

    def load(self, row: int) -> Any:
        self.opened.append(Path(__file__).open("rb"))  # noqa: SIM115 (the mistake)
        return super().load(row)


class LeaksFiles(TamePictures):
    kind = _Leaking


class _Remembering(ImageExamples):
    calls = 0

    def load(self, row: int) -> Any:
        pixels, label, move = super().load(row)
        self.calls += 1
        return pixels.roll(self.calls, dims=-1), label, move


class CountsCalls(TamePictures):
    kind = _Remembering


class FactsOfTest(TamePictures):
    def facts(self, tables: Tables) -> Facts:
        labels = [label for rows in tables.splits.values() for label in rows["label"][:]]
        return {**super().facts(tables), "train_counts": np.bincount(labels, minlength=len(tables.names)).tolist()}


class FactsWithTuple(TamePictures):
    def facts(self, tables: Tables) -> Facts:
        return {**super().facts(tables), "range": (0, 255)}


class KeepsMetrics(TamePictures):
    _kept: Metrics | None = None

    def metrics(self, facts: Facts, device: torch.device) -> Metrics:
        self._kept = self._kept or super().metrics(facts, device)
        return self._kept


class _Lately(Metrics):
    """A running average, as progress bars show it."""

    def __init__(self) -> None:
        self.value = 0.0

    def update(self, predictions: Predictions, batch: Batch) -> None:
        self.value = 0.9 * self.value + 0.1 * _right(predictions, batch).mean().item()

    def compute(self) -> dict[str, float]:
        return {"accuracy": self.value}


class RunningMetric(TamePictures):
    def metrics(self, facts: Facts, device: torch.device) -> Metrics:
        return _Lately()


class _OfBatches(Metrics):
    """The mean over batches: a last small one counts as much as a full one."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def update(self, predictions: Predictions, batch: Batch) -> None:
        self.values.append(_right(predictions, batch).mean().item())

    def compute(self) -> dict[str, float]:
        return {"accuracy": sum(self.values) / len(self.values)}


class AveragesBatches(TamePictures):
    def metrics(self, facts: Facts, device: torch.device) -> Metrics:
        return _OfBatches()


def _right(predictions: Predictions, batch: Batch) -> Tensor:
    assert isinstance(predictions, dict) and isinstance(batch.targets, dict)
    return (predictions["probabilities"].argmax(dim=1) == batch.targets["label"]).float()


class _AboveChance(ClassificationMetrics):
    def __init__(self, facts: Facts, device: torch.device, chance: float) -> None:
        super().__init__(facts, device)
        self._chance = chance

    def compute(self) -> dict[str, float]:
        found = super().compute()
        return {**found, "accuracy": (found["accuracy"] - self._chance) / (1 - self._chance)}


class PeeksAtTest(TamePictures):
    _chance = 0.0

    def facts(self, tables: Tables) -> Facts:
        labels = tables.splits["test"]["label"][:] if "test" in tables.splits else [0]
        self._chance = float(np.bincount(labels).max() / len(labels) / 2)
        return super().facts(tables)

    def metrics(self, facts: Facts, device: torch.device) -> Metrics:
        return _AboveChance(facts, device, self._chance)


class DecodesTensors(TamePictures):
    def decode(self, predictions: Predictions, facts: Facts) -> list[dict[str, Any]]:
        assert isinstance(predictions, dict)
        decoded = super().decode(predictions, facts)
        return [{**row, "confidence": p.max()} for row, p in zip(decoded, predictions["probabilities"], strict=True)]


class RaisesValueError(TamePictures):
    def read(self, request: DataRequest) -> Tables:
        if not request.source.startswith("sample:") and not Path(request.source).exists():
            raise ValueError(f"bad source {request.source}")
        return super().read(request)


class AuditsInPlace(TamePictures):
    def audit(self, tables: Tables) -> tuple[Tables, list[Finding]]:
        for split, rows in tables.splits.items():
            tables.splits[split] = rows.select(range(1, len(rows)))
        return super().audit(tables)


class AlikeByName(TamePictures):
    def alike(self, rows: Dataset) -> Sequence[str]:
        return list(rows["origin"][:])


class AlikeByPlace(TamePictures):
    def alike(self, rows: Dataset) -> Sequence[str]:
        first: dict[str, int] = {}
        return [str(first.setdefault(content, row)) for row, content in enumerate(self.contents(rows))]


class ContentsOfAudit(TamePictures):
    def contents(self, rows: Dataset) -> Sequence[str]:
        told = list(super().contents(rows))
        return [f"audited {content}" for content in told] if "content" in rows.column_names else told


class KeepsNumbers(TamePictures):
    def align(self, tables: Tables, facts: Facts) -> Tables:
        super().align(tables, facts)  # refuses strangers
        return replace(tables, names=tuple(facts["classes"]))


class ReadsInAnyOrder(TamePictures):
    def read(self, request: DataRequest) -> Tables:
        tables = super().read(request)
        order = np.random.default_rng()
        return replace(
            tables, splits={split: rows.select(order.permutation(len(rows))) for split, rows in tables.splits.items()}
        )


class OtherMetricName(TamePictures):
    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.primary_metric = "balanced_accuracy"


class TrustsLabels(TamePictures):
    def read(self, request: DataRequest) -> Tables:
        if request.source.startswith("sample:"):
            splits = request.samples(request.source.removeprefix("sample:"))
            self.balance = np.bincount([int(label) for label in splits["train"]["label"][:]])
        return super().read(request)


class BoxesFromOne(TameDetection):
    """Counts pixels from one, as Pascal VOC's files do."""

    def decode(self, predictions: Predictions, facts: Facts) -> list[dict[str, Any]]:
        decoded = super().decode(predictions, facts)
        for row in decoded:
            for thing in row["objects"]:
                left, top, wide, high = thing["bbox"]
                thing["bbox"] = [left + 1, top + 1, wide, high]
        return decoded


class _Inclusive(DetectionExamples):
    def collate(self, rows: Sequence[int], examples: Sequence[Any]) -> Batch:
        batch = super().collate(rows, examples)
        if self._train and isinstance(batch.targets, list):
            corner = torch.tensor([0.0, 0.0, 1.0, 1.0])
            return replace(batch, targets=[{**row, "boxes": row["boxes"] - corner} for row in batch.targets])
        return batch


class InclusiveCorners(TameDetection):
    """The last pixel of a box, and not the one behind it, as its corner; in training alone."""

    def examples(self, rows: Dataset, input: Any, facts: Facts, train: bool) -> Examples:
        return _Inclusive(rows, input, self.options, train)


class _OneSize(DetectionExamples):
    def sizes(self) -> None:  # type: ignore[override]
        return None


class HidesSizes(TameDetection):
    """Pads pictures to the largest of their batch, and does not say that they differ."""

    def examples(self, rows: Dataset, input: Any, facts: Facts, train: bool) -> Examples:
        return _OneSize(rows, input, self.options, train)


class SwapsAxes(TameDetection):
    def decode(self, predictions: Predictions, facts: Facts) -> list[dict[str, Any]]:
        decoded = super().decode(predictions, facts)
        for row in decoded:
            for thing in row["objects"]:
                left, top, wide, high = thing["bbox"]
                thing["bbox"] = [top, left, high, wide]
        return decoded


class GuessesRight(TamePictures):
    def chance(self, facts: Facts) -> float:
        return 1.0


TAME: Mapping[str, type[Task]] = {
    "tame-pictures": TamePictures,
    "tame-detection": TameDetection,
    "tame-segmentation": TameSegmentation,
}

ALL: Mapping[str, type[Task]] = {
    **TAME,
    "random-evaluation": RandomEvaluation,
    "once-mirrored": OnceMirrored,
    "unseeded-transform": UnseededTransform,
    "pickled-closure": PickledClosure,
    "leaks-files": LeaksFiles,
    "counts-calls": CountsCalls,
    "facts-of-test": FactsOfTest,
    "facts-with-tuple": FactsWithTuple,
    "keeps-metrics": KeepsMetrics,
    "running-metric": RunningMetric,
    "averages-batches": AveragesBatches,
    "peeks-at-test": PeeksAtTest,
    "decodes-tensors": DecodesTensors,
    "raises-value-error": RaisesValueError,
    "audits-in-place": AuditsInPlace,
    "alike-by-name": AlikeByName,
    "alike-by-place": AlikeByPlace,
    "contents-of-audit": ContentsOfAudit,
    "keeps-numbers": KeepsNumbers,
    "reads-in-any-order": ReadsInAnyOrder,
    "other-metric-name": OtherMetricName,
    "trusts-labels": TrustsLabels,
    "guesses-right": GuessesRight,
    "boxes-from-one": BoxesFromOne,
    "inclusive-corners": InclusiveCorners,
    "swaps-axes": SwapsAxes,
    "hides-sizes": HidesSizes,
}


def build(spec: Spec) -> Task:
    return ALL[spec.name]()
