"""Losses over pixels: what they equal, that padding and micro-batches change nothing, which options contradict."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from graftwork.errors import UsageError
from graftwork_segmentation.losses import HEAVIEST, VOID, PixelLoss, class_weights, occupancy

CLASSES = 4


def loss_of(**options: Any) -> PixelLoss:
    plain = {"loss": "ce", "imbalance": "none", "focal_gamma": 2.0, "label_smoothing": 0.0}
    return PixelLoss(plain | options, {"classes": list("abcd"), "train_counts": [900, 90, 9, 1]})


def masks(rows: int, height: int = 8, width: int = 12, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.randint(0, CLASSES, (rows, height, width), generator=generator, dtype=torch.uint8)
    mask[torch.rand(mask.shape, generator=generator) < 0.2] = VOID
    return mask


def scores(rows: int, height: int = 4, width: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(rows, CLASSES, height, width, generator=torch.Generator().manual_seed(seed))


def whole(logits: Tensor) -> Tensor:
    """Logits of the blocks as logits of the canvas's pixels."""
    return logits.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def test_blocks_hold_every_scored_pixel_once() -> None:
    mask = masks(3)
    seen = occupancy(mask, CLASSES)
    assert seen.shape == (3, CLASSES, 4, 6)
    assert torch.equal(seen.sum(dim=(0, 2, 3)).long(), torch.bincount(mask.flatten(), minlength=256)[:CLASSES])
    assert seen[0, 2, 1, 3] == (mask[0, 2:4, 6:8] == 2).sum()


def test_a_mask_value_outside_the_classes_fails_instead_of_vanishing() -> None:
    with pytest.raises((RuntimeError, IndexError)):
        occupancy(torch.full((1, 2, 2), CLASSES + 1, dtype=torch.uint8), CLASSES)


def test_a_canvas_of_odd_sides_is_refused() -> None:
    with pytest.raises(ValueError, match="5 x 4"):
        occupancy(torch.zeros(1, 5, 4, dtype=torch.uint8), CLASSES)


@pytest.mark.parametrize("imbalance", ["none", "weights"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs_over_every_pixel_of_the_canvas(imbalance: str, smoothing: float) -> None:
    loss = loss_of(imbalance=imbalance, label_smoothing=smoothing)
    logits, mask = scores(3), masks(3)
    weights = loss.class_weights
    expected = functional.cross_entropy(
        whole(logits), mask.long(), weight=weights, ignore_index=VOID, label_smoothing=smoothing
    )
    assert torch.allclose(loss(logits, mask)["ce"] / loss.counts(mask)["ce"], expected, atol=1e-6)


def test_focal_without_gamma_is_cross_entropy_and_with_it_turns_the_easy_down() -> None:
    logits, mask = scores(2), masks(2)
    plain = loss_of()(logits, mask)["ce"]
    assert torch.allclose(loss_of(loss="focal", focal_gamma=0.0)(logits, mask)["focal"], plain, rtol=1e-5)
    p = whole(logits).softmax(1).gather(1, mask.long().clamp(max=CLASSES - 1)[:, None])[:, 0]
    expected = ((1 - p) ** 2 * -p.log())[mask != VOID].sum()
    assert torch.allclose(loss_of(loss="focal")(logits, mask)["focal"], expected, rtol=1e-5)
    assert set(loss_of(imbalance="focal", loss="ce+dice")(logits, mask)) == {"focal", "dice"}


def test_a_focal_loss_of_pixels_that_are_certain_has_a_finite_gradient() -> None:
    mask = torch.zeros(1, 2, 2, dtype=torch.uint8)
    logits = torch.tensor([100.0, 0, 0, 0]).view(1, 4, 1, 1).requires_grad_()
    loss_of(loss="focal", focal_gamma=0.5)(logits, mask)["focal"].backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_dice_is_nothing_for_a_certain_truth_and_one_for_its_opposite() -> None:
    mask = masks(2)
    sure = occupancy(mask, CLASSES).argmax(1).repeat_interleave(2, 1).repeat_interleave(2, 2).to(torch.uint8)
    logits = 50.0 * functional.one_hot(sure[:, ::2, ::2].long(), CLASSES).permute(0, 3, 1, 2).float()
    loss = loss_of(loss="dice")
    assert loss(logits, sure)["dice"] < 1e-5
    wrong = (sure + 1) % CLASSES
    assert torch.allclose(loss(logits, wrong)["dice"] / loss.counts(wrong)["dice"], torch.tensor(1.0), atol=1e-5)


def test_dice_equals_its_formula_over_pixels_row_by_row_and_class_by_class() -> None:
    logits, mask = scores(2, seed=3), masks(2, seed=3)
    mask[0][mask[0] == 1] = 2  # a class that the first row does not hold
    p, total = whole(logits).softmax(1), 0.0
    for row in range(2):
        scored = mask[row] != VOID
        terms = []
        for index in mask[row][scored].unique().tolist():
            g, q = (mask[row] == index)[scored].float(), p[row, index][scored]
            terms.append(1 - 2 * (g * q).sum() / (g.square().sum() + q.square().sum()))
        total += float(torch.stack(terms).mean())
    assert float(loss_of(loss="dice")(logits, mask)["dice"]) == pytest.approx(total, rel=1e-5)


OPTIONS = st.sampled_from(
    [{}, {"loss": "focal"}, {"loss": "dice"}, {"loss": "ce+dice", "imbalance": "weights"}, {"label_smoothing": 0.1}]
)


@settings(max_examples=25, deadline=None)
@given(OPTIONS, st.integers(1, 4), st.integers(0, 1000), st.booleans())
def test_micro_batches_give_the_gradients_of_the_whole_batch(
    options: dict[str, Any], size: int, seed: int, one_row_is_void: bool
) -> None:
    loss = loss_of(**options)
    mask, logits = masks(4, seed=seed), scores(4, 2, 3, seed).requires_grad_()
    if one_row_is_void:
        mask[seed % 4] = VOID
    counts = loss.counts(mask)
    sum(value / counts[name] for name, value in loss(logits, mask).items()).backward()
    expected, logits.grad = logits.grad, None
    for start in range(0, 4, size):
        part = loss(logits[start : start + size], mask[start : start + size])
        sum(value / counts[name] for name, value in part.items()).backward()
    assert torch.allclose(logits.grad, expected, atol=1e-7)


@settings(max_examples=25, deadline=None)
@given(OPTIONS, st.integers(0, 6), st.integers(0, 6), st.integers(0, 1000))
def test_padding_changes_neither_sums_nor_counts(options: dict[str, Any], down: int, right: int, seed: int) -> None:
    loss = loss_of(**options)
    mask, logits = masks(2, seed=seed), scores(2, seed=seed)
    wider = functional.pad(mask, (0, 2 * right, 0, 2 * down), value=VOID)
    garbage = 9 * scores(2, 4 + down, 6 + right, seed + 1)
    garbage[:, :, :4, :6] = logits
    for name, value in loss(logits, mask).items():
        assert torch.allclose(loss(garbage, wider)[name], value, rtol=1e-5)
    for name, count in loss.counts(mask).items():
        assert torch.allclose(loss.counts(wider)[name], count, rtol=1e-5)


@pytest.mark.parametrize("kind", ["ce", "focal", "dice", "ce+dice"])
def test_a_batch_of_void_alone_costs_nothing_and_breaks_nothing(kind: str) -> None:
    loss, logits = loss_of(loss=kind), scores(2).requires_grad_()
    mask = torch.full((2, 8, 12), VOID, dtype=torch.uint8)
    counts = loss.counts(mask)
    total = sum(value / counts[name] for name, value in loss(logits, mask).items())
    total.backward()
    assert total.item() == 0 and logits.grad is not None and not logits.grad.any()


def test_class_weights_average_one_over_the_pixels_and_grow_with_rareness_to_a_limit() -> None:
    counts = [9000, 900, 90, 0]
    weights = class_weights(counts)
    assert weights[1] / weights[0] == pytest.approx(10, rel=1e-5)
    assert float((weights[:3] * torch.tensor(counts[:3])).sum() / sum(counts)) == pytest.approx(1, rel=1e-5)
    assert weights[3] == 1
    assert class_weights([1_000_000, 3])[1] == HEAVIEST
    assert torch.isfinite(class_weights([0, 0])).all()


@pytest.mark.parametrize("options", [{"imbalance": "weights"}, {"imbalance": "focal"}, {"label_smoothing": 0.1}])
def test_options_that_mean_nothing_for_dice_are_refused_with_a_way_out(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"ce\+dice"):
        loss_of(loss="dice", **options)


def test_class_weights_are_no_tensors_of_the_artifact() -> None:
    assert not loss_of(imbalance="weights").state_dict()
