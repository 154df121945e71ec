"""Heads: their losses are torch's, their sums and divisors add up over micro-batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from graftwork.classification.heads import (
    ClassificationHead,
    build_cosine,
    build_linear,
    build_mlp,
)
from graftwork.classification.losses import focal_loss_sum, inverse_frequency
from graftwork.interfaces import Spec

WIDTH = 6
FACTS = {"classes": ["a", "b", "c", "d"], "train_counts": [60, 30, 9, 1]}
OPTIONS = {"dropout": 0.0, "hidden": 5, "scale": 10.0, "label_smoothing": 0.0, "imbalance": "none", "focal_gamma": 2.0}
BUILDERS = {"linear": build_linear, "mlp": build_mlp, "cosine": build_cosine}


def make_head(name: str = "linear", facts: dict[str, Any] = FACTS, **options: Any) -> ClassificationHead:
    torch.manual_seed(0)
    backbone: Any = SimpleNamespace(provides={"pooled": WIDTH})
    head = BUILDERS[name](Spec(name, {**OPTIONS, **options}), backbone, facts)
    assert isinstance(head, ClassificationHead)
    for parameter in head.parameters():  # away from the start near zero, where every loss is log(classes)
        parameter.data += torch.randn(parameter.shape)
    return head


def make_batch(rows: int = 11) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    pooled = torch.randn(rows, WIDTH, generator=generator)
    label = torch.randint(4, (rows,), generator=generator)
    return {"pooled": pooled}, label, torch.rand(rows, 4, generator=generator).softmax(dim=1)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("imbalance", ["none", "weights", "sampler"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("soft", [False, True])
def test_the_loss_is_torchs_cross_entropy(name: str, imbalance: str, smoothing: float, soft: bool) -> None:
    head = make_head(name, imbalance=imbalance, label_smoothing=smoothing)
    features, label, probabilities = make_batch()
    targets = {"probabilities": probabilities} if soft else {"label": label}
    mean = head.loss(features, targets)["loss"] / head.counts(targets)["loss"]
    weight = inverse_frequency(FACTS["train_counts"]) if imbalance == "weights" else None
    expected = functional.cross_entropy(
        head.scores({"pooled": features["pooled"]}),
        probabilities if soft else label,
        weight=weight,
        label_smoothing=smoothing,
    )
    torch.testing.assert_close(mean, expected)


@pytest.mark.parametrize("imbalance", ["none", "weights", "focal"])
@pytest.mark.parametrize("soft", [False, True])
def test_micro_batches_add_up_to_the_batch(imbalance: str, soft: bool) -> None:
    head = make_head(imbalance=imbalance, label_smoothing=0.1)
    features, label, probabilities = make_batch()
    targets = {"probabilities": probabilities} if soft else {"label": label}
    parts = [slice(0, 4), slice(4, 5), slice(5, 11)]
    cut = [
        ({"pooled": features["pooled"][part]}, {key: value[part] for key, value in targets.items()}) for part in parts
    ]
    total = sum(head.loss(*part)["loss"] for part in cut)
    count = sum(head.counts(part[1])["loss"] for part in cut)
    torch.testing.assert_close(total, head.loss(features, targets)["loss"])
    torch.testing.assert_close(count, head.counts(targets)["loss"])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("soft", [False, True])
def test_focal_loss_without_focus_is_cross_entropy(smoothing: float, soft: bool) -> None:
    features, label, probabilities = make_batch()
    logits = make_head().scores({"pooled": features["pooled"]})
    target = probabilities if soft else label
    expected = functional.cross_entropy(logits, target, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(focal_loss_sum(logits, target, 0.0, smoothing), expected)


def test_focal_loss_is_the_papers_formula_and_turns_easy_rows_down() -> None:
    logits = torch.tensor([[4.0, 0.0], [0.2, 0.0]])
    label = torch.tensor([0, 0])
    p = logits.softmax(dim=1)[:, 0]
    torch.testing.assert_close(focal_loss_sum(logits, label, 2.0), (-((1 - p) ** 2) * p.log()).sum())
    easy, hard = (float(focal_loss_sum(logits[n : n + 1], label[:1], 2.0)) for n in (0, 1))
    assert easy / hard < float(functional.cross_entropy(logits[:1], label[:1])) / float(
        functional.cross_entropy(logits[1:], label[:1])
    )


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss_stays_finite_where_a_class_is_certain(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    loss = focal_loss_sum(logits, torch.tensor([0, 0]), gamma)
    loss.backward()
    assert math.isfinite(loss.item())
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_class_weights_average_one_over_the_training_rows_and_survive_an_empty_class() -> None:
    weights = inverse_frequency([60, 30, 10, 0])
    assert torch.isfinite(weights).all()
    assert float((weights[:3] * torch.tensor([60.0, 30.0, 10.0])).sum() / 100) == pytest.approx(1.0)
    assert float(weights[2] / weights[0]) == pytest.approx(6.0)
    assert float(weights[3]) == 1.0
    head = make_head(facts={"classes": list("abcd"), "train_counts": [60, 30, 10, 0]}, imbalance="weights")
    features, label, _ = make_batch()
    assert torch.isfinite(head.loss(features, {"label": label})["loss"])


def test_class_weights_follow_from_the_facts_and_are_not_saved() -> None:
    head = make_head(imbalance="weights")
    assert isinstance(head.objective.class_weights, Tensor)
    assert "class_weights" not in head.state_dict()


@pytest.mark.parametrize("name", BUILDERS)
def test_predictions_are_float32_and_sum_to_one(name: str) -> None:
    head = make_head(name).to(torch.bfloat16).eval()
    features = {"pooled": make_batch()[0]["pooled"].bfloat16()}
    predictions = head.predict(features)
    assert isinstance(predictions, dict)
    assert predictions["logits"].dtype == predictions["probabilities"].dtype == torch.float32
    assert predictions["logits"].shape == (11, 4)
    torch.testing.assert_close(predictions["probabilities"].sum(dim=1), torch.ones(11))


@pytest.mark.parametrize("name", BUILDERS)
def test_a_head_learns_separable_rows(name: str) -> None:
    head = make_head(name)
    generator = torch.Generator().manual_seed(3)
    label = torch.arange(40) % 4
    pooled = functional.one_hot(label, WIDTH).float() * 3 + 0.3 * torch.randn(40, WIDTH, generator=generator)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.1)
    for _ in range(40):
        optimizer.zero_grad()
        (head.loss({"pooled": pooled}, {"label": label})["loss"] / 40).backward()
        assert all(parameter.grad is not None for parameter in head.parameters())
        optimizer.step()
    predictions = head.eval().predict({"pooled": pooled})
    assert isinstance(predictions, dict)
    assert float((predictions["probabilities"].argmax(dim=1) == label).float().mean()) == 1.0


def test_the_cosine_head_sees_directions_only() -> None:
    head = make_head("cosine").eval()
    pooled = make_batch()[0]["pooled"]
    torch.testing.assert_close(head.scores({"pooled": pooled}), head.scores({"pooled": 7 * pooled}))
    scale = dict(head.named_parameters())["scale"]
    assert float(head.scores({"pooled": pooled}).abs().max()) <= abs(float(scale)) * 1.0001


def test_dropout_acts_in_training_only() -> None:
    build: list[Callable[[], ClassificationHead]] = [
        lambda: make_head("linear", dropout=0.5),
        lambda: make_head("mlp", dropout=0.5),
    ]
    pooled = make_batch()[0]["pooled"]
    for make in build:
        head = make()
        assert not torch.equal(head.train().scores({"pooled": pooled}), head.scores({"pooled": pooled}))
        assert torch.equal(head.eval().scores({"pooled": pooled}), head.scores({"pooled": pooled}))
