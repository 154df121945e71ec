"""The task `text-classification`: joins reading, audit, examples, metrics and report sections. Each lives in its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from graftwork.classification.labels import PRIMARY
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
    TextInput,
)

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class TextOptions:
    """The task's options; defaults stand in registry.yaml.

    Args:
        labels: what a row's label is: `single` class, `multi`ple classes, or a `number`.
    """

    labels: str


class TextClassification(Task):
    """Classes (one or several a text) or a number for a text or a pair of texts.

    Columns: `text`, `text_pair` where there are pairs, `label` (class index, list of class indices, or number), `origin`.
    """

    head_facts = frozenset({"train_counts", "train_rows", "mean", "std"})

    def __init__(self, options: TextOptions) -> None:
        self.options = options
        self.primary_metric = PRIMARY[options.labels]
        # The threshold above which a class is named is chosen on validation.
        self.decides = options.labels == "multi"
        self.one_class_a_row = options.labels == "single"

    def read(self, request: DataRequest) -> Tables:
        from graftwork_text.read import read_texts

        return read_texts(request, self.options.labels)

    def strata(self, rows: Dataset) -> Sequence[int]:
        from graftwork.classification.labels import strata

        return strata(rows["label"][:], self.options.labels)

    def contents(self, rows: Dataset) -> Sequence[str]:
        """Text and partner in Unicode form NFC."""
        from graftwork_text.look import contents_of

        return contents_of(rows)

    def alike(self, rows: Dataset) -> Sequence[str]:
        """Texts (with their partners) that are the same or nearly so."""
        from graftwork_text.near import alike_texts

        return alike_texts(rows)

    def audit(self, tables: Tables) -> tuple[Tables, list[Finding]]:
        from graftwork_text.audit import audit_texts

        return audit_texts(tables, self.options.labels)

    def facts(self, tables: Tables) -> Facts:
        """`labels`; `classes`, names by index, and `train_counts`, training rows of each; of numbers `mean` and `std`.

        `pair` says whether rows are pairs of texts.
        """
        from graftwork.classification.labels import facts_of

        train = tables.splits["train"]
        pair = "text_pair" in train.column_names
        return {**facts_of(train["label"][:], tables.names, self.options.labels), "pair": pair}

    def align(self, tables: Tables, facts: Facts) -> Tables:
        from graftwork_text.audit import align_texts

        return align_texts(tables, facts, self.options.labels)

    def audit_input(self, tables: Tables, input: TextInput) -> list[Finding]:
        from graftwork_text.lengths import check_lengths

        return check_lengths(tables, input)

    def examples(self, rows: Dataset, input: TextInput, facts: Facts, train: bool) -> Examples:
        from graftwork_text.examples import TextExamples

        return TextExamples(rows, input, facts)

    def metrics(self, facts: Facts, device: torch.device) -> Metrics:
        from graftwork.classification.labels import metrics_of

        return metrics_of(facts, device)

    def decide(self, metrics: Metrics, facts: Facts) -> Facts:
        """With `threshold`: the probability above which a class is named, as it gives the best F1 on validation."""
        return {**facts, "threshold": metrics.compute()["threshold"]}

    def chance(self, facts: Facts) -> float:
        """One class as likely as the other; where a row has several, rows in any order; 0 for the rank of numbers."""
        from graftwork.classification.labels import chance

        return chance(facts)

    def decode(self, predictions: Predictions, facts: Facts) -> list[dict[str, Any]]:
        from graftwork.classification.labels import decode

        assert isinstance(predictions, dict)
        return decode(predictions, facts)

    def read_inputs(self, inputs: Sequence[str], facts: Facts) -> Dataset:
        from graftwork_text.inputs import read_inputs

        return read_inputs(inputs, pair=bool(facts.get("pair")))

    def sections(self, evaluation: Evaluation, facts: Facts) -> list[Section]:
        from graftwork_text.sections import text_sections

        return text_sections(evaluation, facts)


def build(spec: Spec) -> Task:
    """The task `text-classification`."""
    return TextClassification(options_of(spec.options))


def options_of(options: Mapping[str, Any]) -> TextOptions:
    """The part of the options that this file reads; `label_separator` is read from the request."""
    return TextOptions(str(options["labels"]))
