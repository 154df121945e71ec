"""Checks of a task's examples: what they depend on, batches, other processes, open files, and where targets lie."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork.data.fingerprint import row_digests
from graftwork.data.loader import load_batches
from graftwork.data.sampler import BatchSpec
from graftwork.interfaces import Batch, Examples, Facts, Predictions
from graftwork.testing.base import close, copied, doing, leaves, same
from graftwork.testing.company import check_inputs_alike, check_predicted_alike
from graftwork.testing.predicting import differs, perfect_predictions
from graftwork.testing.subjects import Subject, load
from graftwork.testing.surroundings import closes_files, shuffled_random
from graftwork.testing.task_reading import ReadingChecks

_CHILD = """
import pickle, sys
from pathlib import Path
from graftwork.testing.subjects import load
examples, rows = pickle.loads(Path(sys.argv[1]).read_bytes())
Path(sys.argv[2]).write_bytes(pickle.dumps(load(examples, rows, 3, 2)))
"""


class ExampleChecks(ReadingChecks):
    """The part of `TaskConformance` that is about examples."""

    def perfect(self, batch: Batch, facts: Facts) -> Predictions | None:
        """What a head would predict that knows the truth; None where the task cannot say.

        The default knows targets in the forms of graftwork's own tasks.
        """
        return perfect_predictions(batch, facts)

    def agrees(self, decoded: Mapping[str, Any], row: Mapping[str, Any], facts: Facts) -> str | None:
        """What a perfect prediction says, decoded, that is not so in its row of the table; None where it is.

        The default compares `label` and `objects`.
        """
        return differs(decoded, row, facts)

    def both(self) -> list[tuple[str, Subject, Examples]]:
        """The few rows as training and as evaluation get them."""
        subject = self.subject()
        input = subject.input()
        with doing("making examples"):
            return [
                ("training", subject, subject.examples("train", input, True)),
                ("evaluation", subject, subject.examples("train", input, False)),
            ]

    def test_batches_are_well_formed(self) -> None:
        for what, _, examples in self.both():
            rows = range(len(examples))
            with doing(f"loading a batch for {what}"):
                batch = load(examples, rows)
            assert isinstance(batch, Batch), f"collate gives a {type(batch).__name__} in place of a Batch"
            assert batch.rows.dtype == torch.int64 and batch.rows.tolist() == list(rows), (
                f"a batch for {what} says that it holds the rows {batch.rows.tolist()}; asked for were {list(rows)}"
            )
            assert batch.inputs, f"a batch for {what} has no inputs"
            for name, tensor in leaves(batch.inputs).items():
                _check_batch_first(tensor, len(rows), f"the input {name} of a batch for {what}")
            assert len(batch.targets), f"a batch for {what} has no targets, and its rows have labels"
            if isinstance(batch.targets, list):
                count = len(batch.targets)
                assert count == len(rows), f"a batch for {what} has targets of {count} rows for {len(rows)}"
                leaves(batch.targets)
            else:
                for name, tensor in leaves(batch.targets).items():
                    _check_batch_first(tensor, len(rows), f"the target {name} of a batch for {what}")

    def test_evaluation_examples_are_always_the_same(self) -> None:
        _, (_, subject, examples) = self.both()
        rows = range(len(examples))
        again = subject.examples("train", subject.input(), False, subject.same_task())
        with shuffled_random(1):
            first = copied_batch(load(examples, rows, 0, 0))
        with shuffled_random(2):
            others = load(examples, rows, 5, 7), load(again, rows, 9, 1)
        for other in others:
            _same_batch(
                other, first, "in evaluation, a row is another one when it is loaded again: the transform is random"
            )
        with doing("calling read_once of examples"):
            once = load(examples.read_once(), rows)
        _same_batch(once, first, "in evaluation, a row is another one when it is to be read once")

    def test_inputs_of_a_row_do_not_depend_on_its_company(self) -> None:
        _, (_, _, examples) = self.both()
        check_inputs_alike(examples)

    def test_a_row_is_predicted_alike_in_any_company(self) -> None:
        check_predicted_alike(self.subject())

    def test_training_examples_depend_on_seed_epoch_and_row_alone(self) -> None:
        (_, subject, examples), _ = self.both()
        fresh = subject.examples("train", subject.input(), True, subject.same_task())
        rows = list(range(len(examples)))
        with shuffled_random(1):
            first = copied_batch(load(examples, rows, 3, 2))
        with shuffled_random(2):
            load(examples, rows[::-1], 4, 5)
            again, other = load(examples, rows, 3, 2), load(fresh, rows, 3, 2)
        where = "in training, a row of the same seed, epoch and number is another one"
        _same_batch(
            again, first, f"{where} when it is loaded again: it draws numbers that are not torch's, or remembers"
        )
        _same_batch(other, first, f"{where} from examples that were made anew")

    def test_rows_joined_one_by_one_equal_the_batch(self) -> None:
        # What a head reads of the inputs, and targets: nothing else is joined, where states of rows are kept.
        reads = self.subject().model().head.reads
        for what, _, source in self.both():
            examples = source.view(0)
            rows = range(min(len(examples), 4))
            whole = load(examples, rows)
            singles = [load(examples, [row]) for row in rows]
            for name in sorted(reads & whole.inputs.keys()):
                with doing(f"joining the input {name} of rows"):
                    found = examples.join(name, [single.inputs[name][0] for single in singles])
                expected = whole.inputs[name]
                close(found, expected, f"rows for {what} joined one by one are not their batch: the input {name}", 1e-6)
            if not isinstance(whole.targets, list):
                for name, expected in whole.targets.items():
                    values = [single.targets[name][0] for single in singles if isinstance(single.targets, dict)]
                    with doing(f"joining the target {name} of rows"):
                        found = examples.join(name, values)
                    close(
                        found,
                        expected,
                        f"rows for {what} joined one by one are not their batch: the target {name}",
                        1e-6,
                    )

    def test_examples_survive_another_process(self, tmp_path: Path) -> None:
        (_, _, examples), _ = self.both()
        rows = list(range(len(examples)))
        with doing("pickling the examples, as loader processes need it,"):
            content = pickle.dumps((examples, rows))
        (tmp_path / "examples").write_bytes(content)
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
        command = [sys.executable, "-c", _CHILD, str(tmp_path / "examples"), str(tmp_path / "batch")]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300)
        last = done.stderr.strip().splitlines()[-1:] or ["no word"]
        assert done.returncode == 0, f"the examples cannot be loaded from in a fresh process: {last[0]}"
        found = pickle.loads((tmp_path / "batch").read_bytes())
        _same_batch(found, load(examples, rows, 3, 2), "a fresh process loads another batch from the same examples")

    def test_loading_leaves_no_file_open(self) -> None:
        for what, _, examples in self.both():
            rows = range(len(examples))
            load(examples, rows)
            with closes_files(f"loading rows for {what}"):
                for epoch in range(3):
                    load(examples, rows, 0, epoch)

    def test_examples_leave_the_rows_as_they_were(self) -> None:
        subject = self.subject()
        before = {split: row_digests(rows).tolist() for split, rows in subject.few.items()}
        for _, _, examples in self.both():
            for batch in load_batches(examples, [BatchSpec(0, 0, (0, 1), (0, 1))] * 2, 0, 0):
                assert len(batch) == 2
        after = {split: row_digests(rows).tolist() for split, rows in subject.few.items()}
        assert after == before, "examples change the rows that they are made of"

    def test_truth_survives_the_way_to_targets_and_back(self) -> None:
        _, (_, subject, examples) = self.both()
        batch = load(examples, range(len(examples)))
        perfect = self.perfect(batch, subject.facts)
        if perfect is None:
            pytest.skip("the class does not say what is perfect: give `perfect`")
        with doing("decoding perfect predictions"):
            decoded = subject.task.decode(perfect, subject.facts)
        for row, said in enumerate(decoded):
            problem = self.agrees(said, subject.few["train"][row], subject.facts)
            assert not problem, (
                f"row {row} became a target, a perfect prediction and plain values, and is another: {problem}"
            )

    def test_training_targets_lie_where_the_truth_is(self) -> None:
        (_, _, training), (_, _, evaluation) = self.both()
        rows = range(len(training))
        view, truth = load(training.view(0), rows), load(evaluation, rows)
        if not isinstance(view.targets, list) or not isinstance(truth.targets, list) or "original" not in view.inputs:
            pytest.skip("targets are not places in a picture")
        scale = (view.inputs["original"] / view.inputs["size"]).flip(1).repeat(1, 2)
        for row, (ours, true) in enumerate(zip(view.targets, truth.targets, strict=True)):
            if "boxes" not in ours:
                pytest.skip("targets are not boxes")
            kept = ~true["crowd"].bool() if "crowd" in true else torch.ones(len(true["boxes"]), dtype=torch.bool)
            wanted = true["boxes"][kept].float()
            found = ours["boxes"].float() * scale[row]
            where = f"boxes that row {row} is trained on, without augmentation"
            assert found.shape == wanted.shape, f"{where}, are {len(found)}, and {len(wanted)} in evaluation"
            apart = float((found - wanted).abs().max()) if len(found) else 0.0
            assert apart <= 0.05, f"{where}, lie up to {apart:.2f} pixels away from where they lie in evaluation"


def copied_batch(batch: Batch) -> Batch:
    """With tensors of its own."""
    return Batch(batch.rows.clone(), copied(batch.inputs), copied(batch.targets))


def _same_batch(found: Batch, expected: Batch, where: str) -> None:
    same(found.rows, expected.rows, where)
    same(found.inputs, expected.inputs, where)
    same(found.targets, expected.targets, where)


def _check_batch_first(tensor: Tensor, rows: int, what: str) -> None:
    shape: Sequence[int] = tuple(tensor.shape)
    assert tensor.ndim and shape[0] == rows, (
        f"{what} has the shape {shape}, which is not batch first: there are {rows} rows"
    )
    assert not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()), f"{what} is not finite"
