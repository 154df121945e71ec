"""graftwork's checks of a strategy, and that what is shrunk is what the paper shrinks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from graftwork.interfaces import Features, Head, Outputs, Predictions, Targets
from graftwork.testing import PluginConformance, StrategyConformance
from graftwork_bss.strategy import Shrinking


class TestBss(StrategyConformance):
    strategy = "bss"


class TestPackage(PluginConformance):
    plugin = "graftwork-bss"


class Sums(Head):
    """A head whose loss says nothing."""

    needs = frozenset({"pooled"})
    reads = frozenset({"sizes"})

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        return {"loss": 0 * self.weight.sum()}

    def outputs(self, features: Features) -> Outputs:
        return {"pooled": features["pooled"]}

    def postprocess(self, outputs: Outputs, features: Features) -> Predictions:
        return dict(outputs)


def features(rows: int = 6, width: int = 4) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("smallest", "counted"), [(1, 1), (2, 2), (100, 3)])
def test_the_smallest_singular_values_are_penalised_and_never_the_largest(smallest: int, counted: int) -> None:
    matrix = features()
    head = Shrinking(Sums(), 0.5, smallest)
    # As in the paper, from the eigenvalues of the features' Gram matrix.
    wanted = 0.5 * torch.linalg.eigvalsh(matrix.T @ matrix)[:counted].sum()
    targets = {"label": torch.zeros(6)}
    found = head.loss({"pooled": matrix}, targets)["bss"] / head.counts(targets)["bss"]
    assert torch.allclose(found, wanted, rtol=1e-4)


def test_a_step_along_the_gradient_shrinks_only_the_weakest_direction() -> None:
    matrix = features().requires_grad_()
    before = torch.linalg.svdvals(matrix.detach())
    loss = Shrinking(Sums(), 1.0, 1).loss({"pooled": matrix}, {})["bss"] / len(matrix)
    (gradient,) = torch.autograd.grad(loss, matrix)
    after = torch.linalg.svdvals(matrix.detach() - 0.1 * gradient)
    assert torch.allclose(after[:-1], before[:-1], atol=1e-5)
    assert after[-1] < 0.9 * before[-1]


def test_a_single_row_is_not_shrunk_to_nothing() -> None:
    assert Shrinking(Sums(), 1.0, 1).loss({"pooled": features(1)}, {})["bss"] == 0


def test_maps_and_tokens_are_averaged_and_padding_counts_nothing() -> None:
    head = Shrinking(Sums(), 1.0, 1)
    coarse, fine = torch.rand(2, 5, 3, 3), torch.rand(2, 4, 6, 6)
    assert torch.equal(head.vectors({"map8": fine, "map16": coarse}), coarse.mean((2, 3)))
    mask = torch.tensor([[True, True, False], [True, False, False]])
    tokens = torch.rand(2, 3, 4)
    assert torch.allclose(head.vectors({"tokens": tokens, "mask": mask})[0], tokens[0, :2].mean(0))


def test_it_stands_for_the_head_that_it_holds() -> None:
    head = Shrinking(Sums(), 1.0, 1)
    assert head.needs == {"pooled"} and head.reads == {"sizes"}
    assert torch.equal(head.predict({"pooled": features()})["pooled"], features())
