"""Dropout and attention as they are computed while training on the CPU, held against torch's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from text_toys import texts, tiny
from torch import Tensor, nn
from torch.nn import functional

from graftwork_text.backbones.dropping import Dropout, attend, noise


class _Attention(nn.Module):
    is_causal = False


def _heads(length: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    made = torch.Generator().manual_seed(0)
    return [torch.randn(3, length, 2, 8, generator=made).to(dtype).transpose(1, 2).requires_grad_() for _ in range(3)]


def _padded(length: int) -> Tensor:
    mask = torch.ones(3, 1, length, length, dtype=torch.bool)
    mask[1, ..., length // 2 :] = False
    return mask


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_as_many_values_are_dropped_as_asked_and_the_mean_stays(dtype: torch.dtype, rate: float) -> None:
    torch.manual_seed(0)
    found = noise(torch.empty(999, 1001, dtype=dtype), rate)
    assert found.dtype == dtype and set(found.unique().tolist()) == {0.0, found.max().item()}
    assert (found == 0).double().mean().item() == pytest.approx(rate, abs=0.002)
    assert found.double().mean().item() == pytest.approx(1, abs=0.005)


def test_what_is_dropped_is_a_function_of_the_seed() -> None:
    layer, values = Dropout(0.3), torch.ones(7, 9)
    torch.manual_seed(1)
    first, second = layer(values), layer(values)
    torch.manual_seed(1)
    assert torch.equal(layer(values), first) and not torch.equal(first, second)


def test_a_gradient_passes_where_a_value_was_kept() -> None:
    torch.manual_seed(0)
    values = torch.ones(40, 40, requires_grad=True)
    dropped = Dropout(0.5)(values)
    dropped.sum().backward()
    assert values.grad is not None and torch.equal(values.grad, dropped.detach())


@pytest.mark.parametrize("change", [lambda layer: layer.eval(), lambda layer: setattr(layer, "p", 0.0)])
def test_nothing_is_drawn_where_nothing_is_dropped(change: Callable[[Dropout], object]) -> None:
    layer, values = Dropout(0.3), torch.randn(5, 5)
    change(layer)
    before = torch.random.get_rng_state()
    assert torch.equal(layer(values), values) and torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("mask", [None, _padded(6), torch.where(_padded(6), 0.0, -1e4)], ids=["none", "bool", "added"])
def test_attention_and_its_gradients_are_those_of_torch(mask: Tensor | None) -> None:
    ours, theirs = _heads(6), _heads(6)
    found, weights = attend(_Attention(), *ours, mask)
    expected = functional.scaled_dot_product_attention(*theirs, attn_mask=mask).transpose(1, 2)
    torch.testing.assert_close(found, expected)
    assert weights is None
    found.square().sum().backward()
    expected.square().sum().backward()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_attention_under_autocast_is_near_that_in_float32() -> None:
    heads, mask = _heads(6), _padded(6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = attend(_Attention(), *heads, mask)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), attend(_Attention(), *heads, mask)[0], atol=0.03, rtol=0.03)


def test_attention_with_dropout_has_the_mean_of_attention_without() -> None:
    heads, mask = [values.detach().expand(-1, -1, -1, -1) for values in _heads(6)], _padded(6)
    torch.manual_seed(0)
    found = torch.stack([attend(_Attention(), *heads, mask, dropout=0.2)[0] for _ in range(3000)]).mean(0)
    torch.testing.assert_close(found, attend(_Attention(), *heads, mask)[0], atol=0.06, rtol=0)


@pytest.mark.parametrize(
    "others", [{"is_causal": True}, {"position_bias": torch.ones(1, 2, 6, 6)}], ids=["causal", "bias"]
)
def test_a_model_that_asks_for_more_gets_the_attention_of_transformers(others: dict[str, object]) -> None:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    heads = _heads(6)
    expected, _ = sdpa_attention_forward(_Attention(), *heads, None, **others)
    assert torch.equal(attend(_Attention(), *heads, None, **others)[0], expected)


def test_a_row_without_any_token_is_no_nan() -> None:
    mask = _padded(6)
    mask[2] = False
    assert attend(_Attention(), *_heads(6), mask, dropout=0.1)[0].isfinite().all()


def test_an_encoder_in_training_depends_on_the_seed_alone() -> None:
    backbone, needs = tiny("bert").train(), frozenset({"pooled"})

    def pooled(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return backbone(texts(), needs)["pooled"]

    assert any(isinstance(module, Dropout) for module in backbone.modules())
    assert torch.equal(pooled(3), pooled(3)) and not torch.equal(pooled(3), pooled(4))
