"""The task: one kind of problem, from its data to its metrics and its pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graftwork.interfaces.batch import Batch, Predictions
from graftwork.interfaces.contents import BESIDE, digests_of
from graftwork.interfaces.data import DataRequest, Examples, Facts, Finding, Tables
from graftwork.interfaces.model import Model
from graftwork.interfaces.page import Section

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from PIL.Image import Image as PictureImage


class Metrics(ABC):
    """Accumulates over batches; under several processes, `compute` and `details` agree on all of them."""

    @abstractmethod
    def update(self, predictions: Predictions, batch: Batch) -> None:
        """Take in a batch; no synchronisation with the device."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Metrics by name over everything taken in; names as in DESIGN: accuracy, macro_f1, ece, map, mean_iou."""

    def details(self) -> dict[str, Any]:
        """More than a number, as plain JSON: confusion matrix, per-class table, calibration bins."""
        return {}


@dataclass(frozen=True)
class Evaluation:
    """The result on one split, for the report.

    Args:
        split: its name.
        metrics: by name.
        details: what `Metrics.details` gave.
        predictions: one row a data row, what `Task.decode` gave, with `row` and `origin`.
        rows: the split's rows, in the same order; None when the data is no longer there.
        model: on the CPU, in eval mode, for a task that explains predictions; None when it cannot be loaded.
    """

    split: str
    metrics: Mapping[str, float]
    details: Mapping[str, Any]
    predictions: Sequence[Mapping[str, Any]]
    rows: Dataset | None
    model: Model | None = None


class Task(ABC):
    """One kind of problem. Its methods are called in the order in which they stand here.

    A task is built from a Spec whose options are the config's `task_options`, checked and completed by the catalogue.
    """

    primary_metric: str
    """The validation metric that chooses the best epoch; higher is better."""

    head_facts: frozenset[str] = frozenset()
    """Facts that only heads and metrics read (how many rows a class has): `examples` does not get them in training, so that
    states kept of rows serve other subsets of the same data too."""

    decides: bool = False
    """Whether `decide` has something to decide."""

    one_class_a_row: bool = True
    """Whether every row has exactly one class, its stratum: what a budget of N rows a class (`--limit-train N/class`) counts."""

    carried: tuple[str, ...] = ()
    """Columns that `read_inputs` may give, beside `image`, `text` and the like, which a prediction tells as they are (ids)."""

    @abstractmethod
    def read(self, request: DataRequest) -> Tables:
        """The data under canonical columns. Only what is cheap: no image is decoded here.

        Raises:
            DataError: the source is missing, empty, or not in a form that this task reads.
        """

    @abstractmethod
    def strata(self, rows: Dataset) -> Sequence[int]:
        """A class index for every row: what splits are stratified by and `--imbalance sampler` balances."""

    def contents(self, rows: Dataset) -> Sequence[str]:
        """A text for every row, equal where a model is given the same input: so rows are known again, whatever they are called.

        Labels, `origin` and `group` play no part. The default is a digest of all other columns, with the files that pictures
        lie in; a task whose audit changes or adds columns says its own. Nothing is decoded; a row whose file is not there is
        an empty text.

        Args:
            rows: as `read` gave them, or of them what `audit` has left.
        """
        return digests_of(rows, [name for name in rows.column_names if name not in BESIDE])

    def alike(self, rows: Dataset) -> Sequence[str]:
        """A group for every row: rows whose inputs are the same, or nearly, share one, and made splits do not tear it.

        Args:
            rows: as `read` gave them, before the audit.

        Returns:
            Names that follow from the contents alone, so that the same rows in another order, or under other names, are split
            alike: the smallest of `contents` in the group. What the audit names as duplicates across splits is in one group.
            A row that cannot be read, and that the audit will take out, is an empty text; made splits are those that there are
            without it. The default knows rows of equal contents.
        """
        return self.contents(rows)

    @abstractmethod
    def audit(self, tables: Tables) -> tuple[Tables, list[Finding]]:
        """Look at every row before a step is spent; unusable rows are taken out, counted and named.

        Called after missing splits were made, so that leakage across splits is seen.
        """

    @abstractmethod
    def facts(self, tables: Tables) -> Facts:
        """What head and metrics must know; from the training split (and class names)."""

    @abstractmethod
    def align(self, tables: Tables, facts: Facts) -> Tables:
        """Labelled data for a model that is trained already: labels as its facts number them, unusable rows taken out.

        Raises:
            DataError: the data has classes that the model does not know.
        """

    def audit_input(self, tables: Tables, input: Any) -> list[Finding]:
        """What the backbone's input does to these rows: how many texts are cut. Called once the backbone is known."""
        return []

    @abstractmethod
    def examples(self, rows: Dataset, input: Any, facts: Facts, train: bool) -> Examples:
        """Rows as inputs of a backbone that wants `input`; augmented when `train`."""

    @abstractmethod
    def metrics(self, facts: Facts, device: torch.device) -> Metrics:
        """Fresh metrics."""

    def decide(self, metrics: Metrics, facts: Facts) -> Facts:
        """Facts with what only the validation split can tell of the best weights: a threshold, for example.

        Args:
            metrics: over the whole validation split.
        """
        return facts

    def chance(self, facts: Facts) -> float:
        """What guessing is expected to score in the primary metric: 0 of a normalised score in benchmarks.

        Args:
            facts: of the training split; the test split may differ, so that this is an estimate.

        Returns:
            A finite number below what perfect predictions get: 1 / C for one of C classes. 0 unless the task says otherwise,
            which is right of rank correlations and nearly right of boxes.
        """
        return 0.0

    @abstractmethod
    def decode(self, predictions: Predictions, facts: Facts) -> list[dict[str, Any]]:
        """Predictions of a batch as plain values, one dict a row: what `graft predict --json` prints.

        A value of type bytes is the content of a file (a PNG), which `graft predict` writes.
        """

    @abstractmethod
    def read_inputs(self, inputs: Sequence[str], facts: Facts) -> Dataset:
        """Rows without labels for `graft predict`, from files, folders or text on the command line; with `origin`.

        Args:
            inputs: words; `Inputs.of(inputs)` also tells which of them are texts and no names, which columns of a table are
                meant, and `refuse`, which takes the reason for each that is missing or unreadable, so that the others go on.

        Returns:
            A row for each that can be read, in order; maybe none.

        Raises:
            DataError: an input is missing or unreadable, and nobody takes note: `refuse` raises it.
        """

    def draw(self, row: Mapping[str, Any], prediction: Mapping[str, Any], facts: Facts) -> PictureImage | None:
        """An input with what was predicted for it, drawn (RGB); None where there is nothing to draw.

        Args:
            row: of `read_inputs`.
            prediction: what `decode` gave for it.
        """
        return None

    def sections(self, evaluation: Evaluation, facts: Facts) -> list[Section]:
        """The task's part of the report: confusion matrix, worst mistakes drawn."""
        return []
