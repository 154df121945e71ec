"""Heads of several classes and of numbers, attention pooling, and what follows from what a label is."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from graftwork.classification import graftwork_heads
from graftwork.classification.attention import AttentionHead
from graftwork.classification.heads import ClassificationHead
from graftwork.classification.labels import decode, facts_of, strata
from graftwork.classification.losses import focal_loss_sum, sigmoid_focal_loss_sum
from graftwork.errors import UsageError
from graftwork.interfaces import Facts, Spec

WIDTH, LENGTH, ROWS = 6, 5, 11
NAMES = ["a", "b", "c", "d"]
SINGLE: Facts = {"labels": "single", "classes": NAMES, "train_counts": [60, 30, 9, 1]}
MULTI: Facts = {"labels": "multi", "classes": NAMES, "train_counts": [60, 30, 9, 1], "train_rows": 80}
NUMBER: Facts = {"labels": "number", "classes": [], "train_counts": [], "train_rows": 80, "mean": 3.0, "std": 2.0}
FACTS = {"single": SINGLE, "multi": MULTI, "number": NUMBER}
OPTIONS = {"dropout": 0.0, "hidden": 5, "scale": 10.0, "label_smoothing": 0.0, "imbalance": "none", "focal_gamma": 2.0}
HEADS = ["linear", "mlp", "cosine", "attention"]
PAIRS = [(name, kind) for name in HEADS for kind in FACTS if (name, kind) != ("cosine", "number")]


def make_head(name: str, facts: Facts, **options: Any) -> ClassificationHead:
    torch.manual_seed(0)
    backbone: Any = SimpleNamespace(provides={"pooled": WIDTH, "tokens": WIDTH})
    head = graftwork_heads()[name](Spec(name, {**OPTIONS, **options}), backbone, facts)
    assert isinstance(head, ClassificationHead)
    for parameter in head.parameters():  # away from the start near zero, where all tokens weigh the same
        parameter.data += torch.randn(parameter.shape)
    return head


def make_features() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, LENGTH + 1, (ROWS, 1), generator=generator)
    return {
        "pooled": torch.randn(ROWS, WIDTH, generator=generator),
        "tokens": torch.randn(ROWS, LENGTH, WIDTH, generator=generator),
        "mask": torch.arange(LENGTH) < lengths,
    }


def make_targets(kind: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    if kind == "single":
        return {"label": torch.randint(len(NAMES), (ROWS,), generator=generator)}
    if kind == "multi":
        return {"labels": (torch.rand(ROWS, len(NAMES), generator=generator) > 0.6).float()}
    return {"value": 3 + 2 * torch.randn(ROWS, generator=generator)}


def mean_loss(head: ClassificationHead, targets: dict[str, Tensor]) -> Tensor:
    return head.loss(make_features(), targets)["loss"] / head.counts(targets)["loss"]


# Losses


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("imbalance", ["none", "sampler", "weights"])
def test_the_loss_of_several_classes_is_torchs_binary_cross_entropy(name: str, imbalance: str) -> None:
    head, targets = make_head(name, MULTI, imbalance=imbalance), make_targets("multi")
    rarer = torch.tensor([20 / 60, 50 / 30, 71 / 9, 79 / 1]) if imbalance == "weights" else None
    scores = head.scores(make_features())
    expected = functional.binary_cross_entropy_with_logits(scores, targets["labels"], pos_weight=rarer)
    torch.testing.assert_close(mean_loss(head, targets), expected)


def test_class_weights_of_several_classes_stay_finite_where_a_class_is_absent_or_in_every_row() -> None:
    facts = {**MULTI, "train_counts": [80, 0, 9, 1]}
    weights = make_head("linear", facts, imbalance="weights").objective.class_weights
    assert isinstance(weights, Tensor)
    assert bool((weights > 0).all())
    assert float(weights.max()) <= 100


def test_the_sigmoid_focal_loss_is_torchvisions_and_without_focus_binary_cross_entropy() -> None:
    from torchvision.ops import sigmoid_focal_loss

    logits = make_head("linear", MULTI).scores(make_features()).detach()
    target = make_targets("multi")["labels"]
    for gamma in (0.5, 1.0, 2.0, 5.0):
        expected = sigmoid_focal_loss(logits, target, alpha=-1, gamma=gamma, reduction="sum")
        torch.testing.assert_close(sigmoid_focal_loss_sum(logits, target, gamma), expected)
    plain = functional.binary_cross_entropy_with_logits(logits, target, reduction="sum")
    torch.testing.assert_close(sigmoid_focal_loss_sum(logits, target, 0.0), plain)
    head = make_head("linear", MULTI, imbalance="focal", focal_gamma=0.0)
    torch.testing.assert_close(head.loss(make_features(), {"labels": target})["loss"], plain)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_losses_stay_finite_where_a_class_is_certain(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    right = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    for loss in (sigmoid_focal_loss_sum(logits, right, gamma), focal_loss_sum(logits, right, gamma)):
        (slope,) = torch.autograd.grad(loss, logits)
        assert bool(torch.isfinite(loss))
        assert bool(torch.isfinite(slope).all())


@pytest.mark.parametrize("name", ["linear", "mlp", "attention"])
def test_the_loss_of_numbers_is_the_squared_error_in_standard_deviations(name: str) -> None:
    head, targets = make_head(name, NUMBER).eval(), make_targets("number")
    said = head.predict(make_features())
    assert isinstance(said, dict)
    assert said["value"].shape == (ROWS,)
    torch.testing.assert_close(mean_loss(head, targets), functional.mse_loss(said["value"] / 2, targets["value"] / 2))


def test_numbers_that_are_all_the_same_can_be_trained_on() -> None:
    head = make_head("linear", facts_of([4.0] * 5, (), "number"))
    assert bool(torch.isfinite(mean_loss(head, {"value": torch.full((ROWS,), 4.0)})))


@pytest.mark.parametrize(("name", "kind"), PAIRS)
@pytest.mark.parametrize("imbalance", ["none", "weights", "focal"])
def test_micro_batches_add_up_to_the_batch(name: str, kind: str, imbalance: str) -> None:
    kept = "none" if kind == "number" else imbalance  # numbers have no classes that could be out of balance
    head, features, targets = make_head(name, FACTS[kind], imbalance=kept), make_features(), make_targets(kind)
    parts = [slice(0, 4), slice(4, 5), slice(5, ROWS)]
    cut = [[{key: value[part] for key, value in whole.items()} for whole in (features, targets)] for part in parts]
    torch.testing.assert_close(sum(head.loss(*part)["loss"] for part in cut), head.loss(features, targets)["loss"])
    torch.testing.assert_close(sum(head.counts(part[1])["loss"] for part in cut), head.counts(targets)["loss"])


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_predictions_are_float32_whatever_the_precision(name: str, kind: str) -> None:
    head = make_head(name, FACTS[kind]).to(torch.bfloat16).eval()
    features = {key: value.bfloat16() if value.is_floating_point() else value for key, value in make_features().items()}
    said = head.predict(features)
    assert isinstance(said, dict)
    assert {tensor.dtype for tensor in said.values()} == {torch.float32}
    if kind == "multi":
        torch.testing.assert_close(said["probabilities"], said["logits"].sigmoid())


def test_what_numbers_do_not_allow_is_refused() -> None:
    with pytest.raises(UsageError, match="cosine"):
        make_head("cosine", NUMBER)
    with pytest.raises(UsageError, match="label_smoothing"):
        make_head("linear", NUMBER, label_smoothing=0.1)
    for imbalance in ("weights", "focal"):
        with pytest.raises(UsageError, match="imbalance"):
            make_head("linear", NUMBER, imbalance=imbalance)


# Attention pooling


def attentive() -> AttentionHead:
    head = make_head("attention", SINGLE).eval()
    assert isinstance(head, AttentionHead)
    return head


def test_attention_ignores_masked_tokens_exactly() -> None:
    head, features = attentive(), make_features()
    expected = head.scores(features)
    hidden = ~features["mask"].unsqueeze(-1)
    for rubbish in (1e30, float("inf"), float("nan")):
        changed = features["tokens"].masked_fill(hidden, rubbish)
        assert torch.equal(head.scores({**features, "tokens": changed}), expected), rubbish


def test_attention_does_not_depend_on_how_far_rows_are_padded() -> None:
    head, features = attentive(), make_features()
    for row in range(ROWS):
        length = int(features["mask"][row].sum())
        alone = {"tokens": features["tokens"][row : row + 1, :length], "mask": features["mask"][row : row + 1, :length]}
        torch.testing.assert_close(head.scores(alone)[0], head.scores(features)[row])


def test_attention_is_a_softmax_mean_and_starts_as_the_plain_mean() -> None:
    head, features = attentive(), make_features()
    tokens = features["tokens"][0, : int(features["mask"][0].sum())]
    weight = (tokens @ head.query / WIDTH**0.5).softmax(dim=0)
    torch.testing.assert_close(head.pool(features["tokens"], features["mask"])[0], weight @ tokens)
    fresh = AttentionHead(WIDTH, OPTIONS, SINGLE)
    torch.testing.assert_close(fresh.pool(features["tokens"], features["mask"])[0], tokens.mean(dim=0))
    assert AttentionHead.needs == {"tokens"}


def test_attention_learns_which_token_tells_the_class() -> None:
    torch.manual_seed(0)
    label = torch.arange(40) % 4
    tokens = torch.randn(40, LENGTH, WIDTH)
    tokens[:, :, 4] = 0.0
    tokens[range(40), torch.randint(LENGTH, (40,))] = functional.one_hot(label, WIDTH).float() * 3 + torch.eye(WIDTH)[4]
    features = {"tokens": tokens, "mask": torch.ones(40, LENGTH, dtype=torch.bool)}
    head = AttentionHead(WIDTH, OPTIONS, SINGLE)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.1)
    for _ in range(80):
        optimizer.zero_grad()
        (head.loss(features, {"label": label})["loss"] / 40).backward()
        optimizer.step()
    assert bool((head.eval().scores(features).argmax(dim=1) == label).all())
    assert float(head.query.detach()[4]) > 0


# Labels and the plugin


def test_decoding_says_what_a_label_is() -> None:
    probabilities = torch.tensor([[0.1, 0.5, 0.3, 0.1], [0.0, 0.2, 0.1, 0.7]])
    single = decode({"probabilities": probabilities}, SINGLE)
    assert [(row["label"], round(row["confidence"], 5)) for row in single] == [("b", 0.5), ("d", 0.7)]
    assert list(single[0]["probabilities"]) == NAMES
    old = {name: value for name, value in SINGLE.items() if name != "labels"}
    assert decode({"probabilities": probabilities}, old) == single
    assert [row["labels"] for row in decode({"probabilities": probabilities}, MULTI)] == [["b"], ["d"]]
    chosen = decode({"probabilities": probabilities}, {**MULTI, "threshold": 0.15})
    assert [row["labels"] for row in chosen] == [["b", "c"], ["b", "d"]]
    assert decode({"value": torch.tensor([1.5, -2.0])}, NUMBER) == [{"value": 1.5}, {"value": -2.0}]


def test_strata_are_classes_rarest_classes_or_tenths() -> None:
    assert strata([2, 0, 1], "single") == [2, 0, 1]
    rare = strata([[0], [0, 1], [0, 2], [0, 1], []], "multi")
    assert rare == [1, 2, 3, 2, 0]
    tenths = strata(np.random.default_rng(0).permutation(100).astype(float).tolist(), "number")
    assert sorted(np.bincount(tenths).tolist()) == [10] * 10
    assert len(set(strata([0.0, 1.0] * 20, "number"))) == 2
    assert len(set(strata([3.0] * 7, "number"))) == 1
    assert [strata([], kind) for kind in FACTS] == [[], [], []]


def test_facts_count_rows_of_classes_or_measure_numbers() -> None:
    assert facts_of([0, 2, 2], "abc", "single")["train_counts"] == [1, 0, 2]
    several = facts_of([[0, 2], [], [2]], "abc", "multi")
    assert (several["train_counts"], several["train_rows"]) == ([1, 0, 2], 3)
    number = facts_of([1.0, 3.0], (), "number")
    assert (number["mean"], number["std"]) == (2.0, 1.0)


def test_importing_the_plugin_imports_nothing_heavy() -> None:
    code = "import sys, graftwork.classification\nprint({'torch', 'numpy', 'graftwork.interfaces'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
