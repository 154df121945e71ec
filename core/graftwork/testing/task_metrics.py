"""Checks of a task's metrics, decoded predictions and report."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, get_args

import pytest
import torch

from graftwork.interfaces import Batch, Evaluation, Model, Predictions, Section, Task
from graftwork.interfaces.batch import pad_rows
from graftwork.interfaces.page import Block
from graftwork.testing.base import doing
from graftwork.testing.subjects import Subject, load
from graftwork.testing.surroundings import shuffled_random
from graftwork.testing.task_examples import ExampleChecks

_ROUNDING = 1e-5
_CPU = torch.device("cpu")

Pairs = Sequence[tuple[Predictions, Batch]]


class MetricChecks(ExampleChecks):
    """The part of `TaskConformance` that is about metrics."""

    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """Of metrics, lowest and highest; -1 to 1 for those that are not named."""

    def evaluated(self) -> tuple[Subject, Model, Pairs]:
        """An untrained model's predictions for the few rows, row by row."""
        subject = self.subject()
        model = subject.model()
        examples = subject.examples("train", model.backbone.input, False)
        pairs = [(model.predict(batch), batch) for batch in (load(examples, [row]) for row in range(len(examples)))]
        return subject, model, pairs

    def perfect_pairs(self, subject: Subject, pairs: Pairs) -> list[tuple[Predictions, Batch]]:
        """Perfect predictions for the same rows; skips the check where the task cannot say what they are."""
        found = []
        for _, batch in pairs:
            perfect = self.perfect(batch, subject.facts)
            if perfect is None:
                pytest.skip("the class does not say what is perfect: give `perfect`")
            found.append((perfect, batch))
        return found

    def test_perfect_predictions_are_scored_as_perfect(self) -> None:
        subject, _, pairs = self.evaluated()
        perfect = _computed(subject.task, subject, self.perfect_pairs(subject, pairs))
        name = subject.task.primary_metric
        _, highest = self.ranges.get(name, (-1.0, 1.0))
        assert perfect[name] >= highest - 1e-4, (
            f"perfect predictions have {name} {perfect[name]:.4g}, and not {highest:g}"
        )
        untrained = _computed(subject.task, subject, pairs)[name]
        assert perfect[name] >= untrained, (
            f"an untrained model has a better {name}, {untrained:.4g}, than a perfect one"
        )

    def test_metrics_do_not_depend_on_batches_or_their_order(self) -> None:
        subject, model, pairs = self.evaluated()
        task = subject.task
        first = self.perfect(pairs[0][1], subject.facts)
        if first is not None and _alike(first, pairs[0][0]):
            pairs = [
                (first, pairs[0][1]),
                *pairs[1:],
            ]  # rows as alike as an untrained model's may be would show nothing
        one_by_one = _computed(task, subject, pairs)
        backwards = _computed(task, subject, pairs[::-1])
        _same_values(backwards, one_by_one, "metrics depend on the order of batches")
        examples = subject.examples("train", model.backbone.input, False)
        # Into batches of two sizes too: a mean over batches of one size is the mean over their rows.
        for cut in ((0, len(pairs)), (0, 1, len(pairs))):
            batches = [(_together(pairs[a:b]), load(examples, range(a, b))) for a, b in pairwise(cut)]
            _same_values(
                _computed(task, subject, batches), one_by_one, "metrics depend on how rows are cut into batches"
            )

    def test_metrics_start_afresh_and_compute_twice(self) -> None:
        subject, _, pairs = self.evaluated()
        half = len(pairs) // 2
        metrics = subject.task.metrics(subject.facts, _CPU)
        first = _update(metrics, pairs[half:])
        _same_values(metrics.compute(), first, "computed twice, the metrics differ")
        others = pairs[:half]
        if (perfect := [self.perfect(batch, subject.facts) for _, batch in others]) and perfect[0] is not None:
            others = [(found, batch) for found, (_, batch) in zip(perfect, others, strict=True) if found is not None]
        _computed(subject.task, subject, others)
        again = _computed(subject.task, subject, pairs[half:])
        _same_values(again, first, "fresh metrics remember rows of an earlier evaluation")

    def test_metrics_know_only_facts_and_batches(self) -> None:
        subject, _, pairs = self.evaluated()
        facts = json.loads(json.dumps(subject.facts))
        read = _computed(subject.task, subject, pairs)
        fresh = _update(subject.same_task().metrics(facts, _CPU), pairs)
        _same_values(
            fresh,
            read,
            "a task that has read no data gives other metrics for the same predictions: they look at rows that are not in "
            "the batches, such as the test split",
        )

    def test_metrics_lie_in_their_range(self) -> None:
        subject, _, pairs = self.evaluated()
        sets = {"an untrained model": pairs}
        if self.perfect(pairs[0][1], subject.facts) is not None:
            sets["perfect predictions"] = self.perfect_pairs(subject, pairs)
        for what, given in sets.items():
            values = _computed(subject.task, subject, given)
            name = subject.task.primary_metric
            assert name in values, f"the primary metric {name} is not among the metrics {', '.join(values)}"
            for metric, value in values.items():
                assert math.isfinite(value), f"{metric} is {value} for {what}"
                lowest, highest = self.ranges.get(metric, (-1.0, 1.0))
                inside = lowest - 1e-6 <= value <= highest + 1e-6
                assert inside, f"{metric} is {value:.6g} for {what}, outside of {lowest:g} to {highest:g}; see `ranges`"

    def test_predictions_are_decoded_to_plain_json(self) -> None:
        subject, _, pairs = self.evaluated()
        for found, batch in pairs:
            with doing("decoding predictions"):
                decoded = subject.task.decode(found, subject.facts)
            assert len(decoded) == len(batch), f"decode gives {len(decoded)} predictions of {len(batch)} rows"
            for row in decoded:
                assert isinstance(row, dict), f"decode gives a {type(row).__name__} for a row, and not a dict"
                plain = {name: value for name, value in row.items() if not isinstance(value, bytes)}
                with doing("writing a decoded prediction as JSON"):
                    json.dumps(plain, allow_nan=False)

    def test_the_report_can_be_made(self) -> None:
        subject, model, pairs = self.evaluated()
        task = subject.task
        metrics = task.metrics(subject.facts, _CPU)
        values = _update(metrics, pairs)
        with doing("giving the details of metrics"):
            details = metrics.details()
        with doing("writing the details of metrics as JSON"):
            details = json.loads(json.dumps(details, allow_nan=False))
        rows = subject.few["train"]
        decoded = [task.decode(found, subject.facts)[0] for found, _ in pairs]
        told = [{"row": row, "origin": rows["origin"][row], **said} for row, said in enumerate(decoded)]
        for table, net in ((rows, model), (None, None)):
            with doing(f"making the report's sections {'with' if table is not None else 'without'} rows and model"):
                sections = task.sections(Evaluation("test", values, details, told, table, net), subject.facts)
            for section in sections:
                assert isinstance(section, Section), f"sections gives a {type(section).__name__} in place of a Section"
                for block in section.blocks:
                    kind = type(block).__name__
                    assert isinstance(block, get_args(Block)), (
                        f"section {section.title!r} holds a {kind}, which no page shows"
                    )


def _together(pairs: Pairs) -> Predictions:
    """The predictions of all batches as those of one."""
    lists = [found for found, _ in pairs if isinstance(found, list)]
    if lists:
        return [prediction for found in lists for prediction in found]
    dicts = [found for found, _ in pairs if isinstance(found, dict)]
    return {name: pad_rows([row for found in dicts for row in found[name]]) for name in dicts[0]}


def _alike(one: Predictions, other: Predictions) -> bool:
    """Whether predictions have the same form, and so can stand in one batch."""
    return type(one) is type(other) and (isinstance(one, list) or set(one) == set(other))


def _computed(task: Task, subject: Subject, pairs: Pairs) -> dict[str, float]:
    return _update(task.metrics(subject.facts, _CPU), pairs)


def _update(metrics: Any, pairs: Pairs) -> dict[str, float]:
    with shuffled_random(0), doing("computing metrics"):
        for found, batch in pairs:
            metrics.update(found, batch)
        return {name: float(value) for name, value in metrics.compute().items()}


def _same_values(found: Mapping[str, float], expected: Mapping[str, float], where: str) -> None:
    assert set(found) == set(expected), f"{where}: {sorted(found)} in place of {sorted(expected)}"
    for name, value in expected.items():
        apart = abs(float(found[name]) - float(value))
        assert apart <= _ROUNDING * max(1.0, abs(float(value))), (
            f"{where}: {name} is {found[name]:.6g}, and was {value:.6g}"
        )
