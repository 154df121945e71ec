"""Checks of what a head says: outputs that follow from shapes, and predictions that come of them row by row."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from graftwork.interfaces import Features, Head, Outputs
from graftwork.interfaces.batch import sliced
from graftwork.testing.base import copied, doing, leaves, same
from graftwork.testing.company import check_predicted_alike
from graftwork.testing.head_losses import LossChecks, slice_of
from graftwork.testing.predicting import few_differ, mostly_same
from graftwork.testing.surroundings import shuffled_random

_SHAPES_ALONE = "computing outputs from shapes alone (no .item() or .tolist(), no size that the data decides)"


class OutputChecks(LossChecks):
    """The part of `HeadConformance` that is about outputs and predictions."""

    def said(self, head: Head, features: Features) -> Outputs:
        """Outputs in eval mode."""
        head.eval()
        with torch.no_grad(), doing("computing outputs"):
            return head.outputs(features)

    def test_outputs_are_tensors_batch_first(self) -> None:
        model, batch = self.trained_on()
        found = self.said(model.head, self.features(model, batch))
        assert isinstance(found, Mapping) and found, (
            f"outputs is a {type(found).__name__}, and no dict of named tensors"
        )
        for name, value in found.items():
            assert isinstance(value, Tensor), f"the output {name} is a {type(value).__name__}, and not a tensor"
            assert value.shape[:1] == (len(batch),), (
                f"the output {name} has the shape {tuple(value.shape)}, and is not batch first: {len(batch)} rows"
            )

    def test_outputs_follow_from_shapes_alone(self) -> None:
        """With tensors that have shapes and no numbers, as export sees a head."""
        model, batch = self.trained_on()
        features = self.features(model, batch)
        for mode in ("train", "eval"):
            model.head.train(mode == "train")
            with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True) as shapes:
                without_numbers: Features = {name: shapes.from_tensor(value) for name, value in features.items()}
                with doing(f"in {mode} mode, {_SHAPES_ALONE},"):
                    traced = model.head.outputs(without_numbers)
            with torch.no_grad(), doing("computing outputs once more after that"):
                found = model.head.outputs(features)
            kept = [name for name, value in found.items() if isinstance(value, FakeTensor)]
            assert not kept, (
                f"the head keeps a tensor that it made of the first features it saw: {', '.join(kept)} still comes of it"
            )
            expected, forms = _forms(traced), _forms(found)
            assert forms == expected, f"in {mode} mode, outputs are {forms}, where shapes alone say {expected}"

    def test_outputs_do_not_depend_on_the_rows_beside_a_row(self) -> None:
        model, batch = self.trained_on()
        features = self.features(model, batch)
        together = self.said(model.head, features)
        for row in range(len(batch)):
            alone = self.said(model.head, slice_of(features, row))
            few_differ(alone, slice_of(together, row), f"the outputs for row {row} depend on the rows beside it")

    def test_predictions_are_what_postprocess_makes_of_outputs(self) -> None:
        model, batch = self.trained_on()
        features = self.features(model, batch)
        outputs = self.said(model.head, features)
        with torch.no_grad(), doing("postprocessing"):
            expected = model.head.postprocess(outputs, features)
        same(self.predicted(model.head, features), expected, "predict is not postprocess(outputs(features), features)")

    def test_postprocess_leaves_outputs_and_features_as_they_were(self) -> None:
        model, batch = self.trained_on()
        features = self.features(model, batch)
        outputs = self.said(model.head, features)
        before = copied(outputs), copied(features)
        with torch.no_grad(), doing("postprocessing"):
            model.head.postprocess(outputs, features)
        same(outputs, before[0], "postprocess changes the outputs that it is given")
        same(features, before[1], "postprocess changes the features that it is given")

    def test_predictions_come_row_by_row(self) -> None:
        model, batch = self.trained_on()
        found = self.predicted(model.head, self.features(model, batch))
        rows = len(batch)
        if isinstance(found, list):
            assert len(found) == rows, f"predict gives {len(found)} predictions of {rows} rows"
        else:
            assert isinstance(found, Mapping), (
                f"predict gives a {type(found).__name__}: a dict of tensors or a list of such"
            )
            for name, tensor in found.items():
                shape = tuple(leaves(tensor, name)[name].shape)
                assert shape[:1] == (rows,), (
                    f"the prediction {name} has the shape {shape}, and is not batch first: {rows} rows"
                )
        for name, tensor in leaves(found).items():
            assert not tensor.isnan().any(), f"the prediction {name} holds what is no number (nan)"

    def test_predicting_twice_gives_the_same(self) -> None:
        model, batch = self.trained_on()
        features = self.features(model, batch)
        with shuffled_random(1):
            first = copied(self.predicted(model.head, features))
        with shuffled_random(2):
            second = self.predicted(model.head, features)
        same(
            second,
            first,
            "in eval mode, predicting a batch again gives something else: it depends on random numbers or calls",
        )

    def test_a_prediction_does_not_depend_on_the_rows_beside_it(self) -> None:
        model, batch = self.trained_on()
        features = self.features(model, batch)
        together = self.predicted(model.head, features)
        for row in range(len(batch)):
            alone = self.predicted(model.head, slice_of(features, row))
            mostly_same(
                alone, sliced(together, row, row + 1), f"the prediction for row {row} depends on the rows beside it"
            )

    def test_a_row_is_predicted_alike_in_any_company(self) -> None:
        """Among rows of other sizes, in batches as `graft predict` makes them; within what float32 rounds."""
        check_predicted_alike(self.subject())

    def test_predictions_do_not_remember_targets(self) -> None:
        model, batch = self.trained_on()
        features = self.features(model, batch)
        before = copied(self.predicted(model.head, features))
        state = copied(model.head.state_dict())
        with torch.no_grad():
            self.losses(model.head, features, batch.targets)
        model.head.load_state_dict(state)
        after = self.predicted(model.head, features)
        same(
            after,
            before,
            "predictions change once the loss has seen the targets, with equal weights: something is remembered",
        )


def _forms(outputs: Outputs) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    return {name: (tuple(value.shape), value.dtype) for name, value in outputs.items()}
