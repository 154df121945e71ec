"""Data on its way from a source to examples: requests, tables, findings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from graftwork.interfaces.batch import pad_rows

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

Facts = dict[str, Any]
"""What a head and metrics must know of the data, as plain JSON: {"classes": ["cat", "dog"], "train_counts": [80, 20]}."""


@dataclass(frozen=True)
class Finding:
    """One thing that the audit saw in the data.

    Args:
        code: a stable kebab-case name, e.g. `near-duplicate-across-splits`.
        level: `error` (cannot train), `warning` (will hurt), `note` (handled).
        message: one sentence with numbers.
        where: files or rows it is about, the first few by name.
        count: how many rows it concerns.
    """

    code: str
    level: Literal["error", "warning", "note"]
    message: str
    where: tuple[str, ...] = ()
    count: int = 0


@dataclass(frozen=True)
class DataRequest:
    """Which data is wanted.

    Args:
        source: a path, `sample:NAME`, `hf:NAME[:CONFIG]` or another `SCHEME:NAME` that the task knows.
        columns: canonical column to the source's column, as `--column label=category` gives it.
        group_by: a source column whose values must not be torn between splits, or, where files have no columns, `folder` or a
            regular expression (`graftwork.data.groups`); kept as the column `group`.
        options: the task's options.
        samples: opens `sample:NAME`; supplied by the core, which finds it in the catalogue.
    """

    source: str
    columns: Mapping[str, str] = field(default_factory=dict)
    group_by: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    samples: Any = None


@dataclass(frozen=True)
class Tables:
    """Rows under canonical columns, by split (`train`, `validation`, `test`; a subset of these, and `unlabelled` for rows
    without labels, which `Task.audit` is not given and `Task.examples` makes batches without targets of).

    Every dataset has, beside the task's canonical columns, `origin` (file or row it came from, text) and, with
    `--group-by`, `group` (text; null where a row is in none).

    Args:
        splits: split name to rows.
        findings: what reading already saw: rows that were skipped, files that are not readable.
        names: class names by index, when reading knows them.
        columns: canonical column to the source's column, where the source is a table: what a model remembers, so that it
            predicts from the same columns of another table.
        class_ids: what the source numbers its classes, by index, where it does (COCO's category ids have gaps).
    """

    splits: dict[str, Dataset]
    findings: tuple[Finding, ...] = ()
    names: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    class_ids: tuple[int | str, ...] = ()


class Examples(ABC):
    """Rows as a model's input, one at a time; picklable, since loader workers get a copy.

    `load` may use torch's random numbers: the caller has seeded them from (seed, epoch, row), and they are the only
    randomness allowed.
    """

    cheap: ClassVar[bool] = False
    """Whether loading a row costs next to nothing, so that a process that loads ahead would only cost."""

    evaluated_together: ClassVar[int] = 64
    """How many rows an evaluation takes at once, or the training's batch where that is larger."""

    @abstractmethod
    def __len__(self) -> int:
        """How many rows there are."""

    def sizes(self) -> Sequence[int] | Sequence[tuple[int, ...]] | None:
        """The size of every row where rows differ in size and a batch is padded to its largest; None where they do not.

        In the unit of the input: tokens for text; height and width for pictures, each padded for itself. Batches are then
        made of rows of like size, and `batch_units` limits what a batch holds with its padding.
        """
        return None

    def view(self, number: int) -> Examples:
        """These rows as one of the fixed views that stand for endless augmentation where states are kept.

        View 0 is a row without augmentation, view 1 its mirror image where that leaves the label right, further ones are
        drawn. What `load` then draws is seeded from (view, row) alone, so a view is the same in every epoch and run. The
        default draws all of them; rows that are not augmented are the same in each.
        """
        return self

    def read_once(self) -> Examples:
        """The same rows for a reader that takes each of them once: nothing need be kept of what was loaded. The default keeps
        nothing anyhow."""
        return self

    def join(self, name: str, values: Sequence[Tensor]) -> Tensor:
        """One input or target, by name, of rows that were collated one by one, as that of a batch [B, …].

        The default pads with zeros at the end to the largest row, as `collate` has to for rows of several sizes.
        """
        return pad_rows(values)

    @abstractmethod
    def load(self, row: int) -> Any:
        """One example: whatever `collate` takes."""

    @abstractmethod
    def collate(self, rows: Sequence[int], examples: Sequence[Any]) -> Any:
        """A Batch. May use torch's random numbers (mixup), seeded by the caller from (seed, epoch, batch)."""
