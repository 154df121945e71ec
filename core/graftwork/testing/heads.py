"""The conformance kit for heads: subclass `HeadConformance`, name the head, and pytest runs the checks.

class TestMyHead(HeadConformance):
    head = "my-head"
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from graftwork.interfaces import Batch, Features, Head, Model, Spec
from graftwork.interfaces.extractor import Extractor
from graftwork.testing.base import accelerator, copied, doing, same
from graftwork.testing.learning import learn_by_heart
from graftwork.testing.options import check_options_are_read
from graftwork.testing.solving import SolvingChecks
from graftwork.testing.subjects import Subject, check_saved_model
from graftwork.testing.surroundings import check_leaves_alone


class HeadConformance(SolvingChecks):
    """What being a head means, as tests, on rows of a sample over a small backbone, assembled as a run does it.

    A check that cannot hold is named in `exceptions` with the reason, and is skipped with it.
    """

    learns: ClassVar[float] = 0.5
    """What the task's primary metric must reach on rows that the head has learned by heart."""

    def test_it_needs_what_the_registry_says(self) -> None:
        subject = self.subject()
        model = subject.model()
        needs = model.head.needs
        said = subject.builder.catalogue.head(self.head).needs
        assert isinstance(needs, frozenset), f"needs is a {type(needs).__name__}, and not a frozenset of feature names"
        lacking = Extractor(model.backbone, needs).lacking
        assert not lacking, f"the head needs {lacking}, which the backbone does not provide"
        unsaid = [name for name in needs if not any(fnmatch.fnmatch(name, pattern) for pattern in said)]
        assert not unsaid, (
            f"the head needs {', '.join(sorted(unsaid))}, which registry.yaml does not say ({', '.join(said)})"
        )
        unread = [pattern for pattern in said if not fnmatch.filter(needs, pattern)]
        assert not unread, f"registry.yaml says that the head needs {', '.join(unread)}; it does not"

    def test_it_reads_only_what_it_declares(self) -> None:
        model, batch = self.trained_on()
        features = _everything(model, batch)
        allowed = {*model.head.needs, *model.head.reads} | ({"mask"} if "tokens" in model.head.needs else set())
        for what, use in self.uses(model.head, batch.targets):
            watched = _Watched(features)
            with doing(what):
                use(watched)
            strangers = watched.seen - allowed
            assert not strangers, (
                f"{what} reads {', '.join(sorted(strangers))}, which the head declares neither in `needs` nor in `reads`"
            )
            declared = {name: value for name, value in features.items() if name in allowed}
            with doing(f"{what}, from what it declares alone,"):
                use(declared)

    def test_features_and_targets_are_left_as_they_were(self) -> None:
        model, batch = self.trained_on()
        features = self.features(model, batch)
        before = copied(features), copied(batch.targets)
        for what, use in self.uses(model.head, batch.targets):
            with doing(what):
                use(features)
            same(features, before[0], f"{what} changes the features that it is given")
            same(batch.targets, before[1], f"{what} changes the targets that it is given")

    def test_gradients_reach_every_parameter_and_the_features(self) -> None:
        model, batch = self.trained_on()
        with torch.no_grad():
            for parameter in model.head.parameters():
                # Initial zeros stop gradients on purpose; away from them nothing does.
                parameter.add_(torch.randn_like(parameter) * 0.02)
        features = self.features(model, batch)
        for name in model.head.needs:
            features[name].requires_grad_(features[name].is_floating_point())
        torch.autograd.backward(sum(self.losses(model.head, features, batch.targets).values(), torch.zeros(())))
        for name, parameter in model.head.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, f"no gradient reaches the parameter {name}"
                # Where rows hold objects, a part may be for objects of a size that these rows do not have.
                zero = not isinstance(batch.targets, list) and not parameter.grad.any()
                assert not zero, f"the gradient of the parameter {name} is zero"
        cut = [name for name in model.head.needs if features[name].grad is None or not features[name].grad.any()]  # type: ignore[union-attr]
        assert not cut, f"no gradient reaches the features {', '.join(sorted(cut))}: the backbone could not learn"

    def test_it_learns_one_batch_and_is_scored_for_it(self) -> None:
        learn_by_heart(self.subject(), self.learns)

    def test_the_same_seed_builds_the_same_weights(self) -> None:
        subject = self.subject()
        states = [subject.model(7).head.state_dict() for _ in range(2)]
        same(states[1], states[0], "built twice from one seed, the head's weights differ")

    def test_building_and_calling_leave_the_process_as_it_was(self) -> None:
        subject = self.subject()
        model, batch = self.trained_on()
        features = self.features(model, batch)
        check_leaves_alone("building the head", lambda: self.built(subject, model, subject.head.options))
        for what, use in self.uses(model.head, batch.targets):
            check_leaves_alone(what, lambda use=use: use(features))  # type: ignore[misc]

    def test_every_option_is_declared_and_read(self) -> None:
        subject = self.subject()
        model, batch = self.trained_on()
        features = self.features(model, batch)

        def use(options: Any) -> None:
            head = self.built(subject, model, options)
            for _, call in self.uses(head, batch.targets):
                call(features)

        check_options_are_read(f"head {self.head}", subject.builder.catalogue.head(self.head), use)

    def test_a_saved_model_predicts_the_same(self, tmp_path: Path) -> None:
        check_saved_model(self.subject(), tmp_path / "run")

    def test_it_runs_on_the_accelerator_of_this_machine(self) -> None:
        device = accelerator()
        model, batch = self.trained_on()
        model, batch = model.to(device), batch.to(device)
        features = self.features(model, batch)
        for what, use in self.uses(model.head, batch.targets):
            with doing(f"{what} on {device}"):
                use(features)

    def built(self, subject: Subject, model: Model, options: Mapping[str, Any]) -> Head:
        """The head alone, from options as they are given."""
        spec = Spec(self.head, options)
        built: Head = subject.builder.plugins.build("heads", self.head, spec, model.backbone, subject.facts)
        return built


def _everything(model: Model, batch: Batch) -> Features:
    """All features of the backbone and all inputs, whatever the head declares."""
    with torch.no_grad():
        features: Features = model.backbone(batch.inputs)
        if model.extractor.summaries:
            every = frozenset(f"stage{cut}" for cut in range(1, len(model.backbone.stages()) + 1))
            features |= Extractor(model.backbone, every).features(model.backbone.begin(batch.inputs), 0)
    return {**batch.inputs, **features}


class _Watched(dict[str, Tensor]):
    """Features that note which of them are read."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__(values)
        self.seen: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        self.seen.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.seen |= {name} & self.keys()
        return super().get(name, default)

    def items(self) -> Any:
        self.seen |= self.keys()
        return super().items()

    def values(self) -> Any:
        self.seen |= self.keys()
        return super().values()
