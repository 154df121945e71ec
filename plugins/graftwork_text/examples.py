"""Rows as a text backbone's input: token numbers, padded to the longest row of their batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from graftwork.classification.labels import targets_of
from graftwork.interfaces import Batch, Examples, Facts, TextInput
from graftwork_text.tokens import tokenise

if TYPE_CHECKING:
    from datasets import Dataset

Example = tuple[NDArray[np.int32], int]
"""Token numbers [T], and where the second text begins (0 where there is none)."""


class TextExamples(Examples):
    """Texts of a table as token numbers.

    Args:
        rows: columns `text`, maybe `text_pair` and, unless for prediction, `label`.
        input: what the backbone wants.
        facts: of the data; `labels` says what a label is.
    """

    cheap = True

    def __init__(self, rows: Dataset, input: TextInput, facts: Facts) -> None:
        self._tokens = tokenise(rows, input)
        self._pairs = "text_pair" in rows.column_names
        self._targets = targets_of(rows["label"][:], facts) if "label" in rows.column_names else None

    def __len__(self) -> int:
        return len(self._tokens)

    def sizes(self) -> Sequence[int]:
        """Tokens of each row."""
        return self._tokens.sizes  # type: ignore[return-value]

    def load(self, row: int) -> Example:
        """The row's token numbers."""
        return self._tokens.row(row)

    def collate(self, rows: Sequence[int], examples: Sequence[Example]) -> Batch:
        """Inputs `tokens` int64 [B, T] (0 at padding), `mask` bool [B, T] and, for pairs, `types` int64 [B, T].

        Targets {"label": int64 [B]}, {"labels": float32 [B, classes]} or {"value": float32 [B]}, by what a label is; {}
        where rows have no labels.
        """
        numbers = torch.tensor(rows, dtype=torch.int64)
        longest = max(len(ids) for ids, _ in examples)
        tokens = np.zeros((len(examples), longest), dtype=np.int64)
        mask = np.zeros((len(examples), longest), dtype=bool)
        types = np.zeros_like(tokens) if self._pairs else None
        for at, (ids, second) in enumerate(examples):
            tokens[at, : len(ids)] = ids
            mask[at, : len(ids)] = True
            if types is not None and second:
                types[at, second : len(ids)] = 1
        inputs = {"tokens": torch.from_numpy(tokens), "mask": torch.from_numpy(mask)}
        if types is not None:
            inputs["types"] = torch.from_numpy(types)
        if self._targets is None:
            return Batch(numbers, inputs, {})
        name, values = self._targets
        return Batch(numbers, inputs, {name: values[numbers]})
