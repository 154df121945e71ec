"""graftwork's checks of a strategy, and that what is shrunk is what the paper shrinks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from graftwork.interfaces import Backbone, Batch, Features, Head, Model, Outputs, Predictions, Targets
from graftwork.testing import PluginConformance, StrategyConformance
from graftwork_bss.strategy import Shrinkage, feature_of


class TestBss(StrategyConformance):
    strategy = "bss"


class TestPackage(PluginConformance):
    plugin = "graftwork-bss"


class Sums(Head):
    """A head whose loss says nothing."""

    needs = frozenset({"pooled"})

    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        return {"loss": 0 * features["pooled"].sum()}

    def outputs(self, features: Features) -> Outputs:
        return {"pooled": features["pooled"]}

    def postprocess(self, outputs: Outputs, features: Features) -> Predictions:
        return dict(outputs)


class Same(Backbone):
    """Gives its input."""

    provides = {"pooled": 4}  # noqa: RUF012

    def stages(self) -> list[nn.Module]:
        return [nn.Identity()]

    def begin(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:  # type: ignore[override]
        return dict(inputs)

    def advance(self, index: int, state: dict[str, Tensor], needs: frozenset[str]) -> dict[str, Tensor]:
        return state

    def finish(self, state: dict[str, Tensor], needs: frozenset[str]) -> dict[str, Tensor]:
        return {name: state[name] for name in needs}


def features(rows: int = 6, width: int = 4) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(0))


def shrinkage(matrix: Tensor, eta: float, smallest: int) -> Tensor:
    """What a model's loss has of it for a batch."""
    model = Model(Same(), Sums())
    model.enter([Shrinkage(eta, smallest, "pooled")])
    rows = len(matrix)
    batch = Batch(torch.arange(rows), {"pooled": matrix}, {"label": torch.zeros(rows)})
    found: Tensor = model(batch)["bss"] / model.counts(batch)["bss"]
    return found


@pytest.mark.parametrize(("smallest", "counted"), [(1, 1), (2, 2), (100, 3)])
def test_the_smallest_singular_values_are_penalised_and_never_the_largest(smallest: int, counted: int) -> None:
    matrix = features()
    # As in the paper, from the eigenvalues of the features' Gram matrix.
    wanted = 0.5 * torch.linalg.eigvalsh(matrix.T @ matrix)[:counted].sum()
    assert torch.allclose(shrinkage(matrix, 0.5, smallest), wanted, rtol=1e-4)


def test_a_step_along_the_gradient_shrinks_only_the_weakest_direction() -> None:
    matrix = features().requires_grad_()
    before = torch.linalg.svdvals(matrix.detach())
    (gradient,) = torch.autograd.grad(shrinkage(matrix, 1.0, 1), matrix)
    after = torch.linalg.svdvals(matrix.detach() - 0.1 * gradient)
    assert torch.allclose(after[:-1], before[:-1], atol=1e-5)
    assert after[-1] < 0.9 * before[-1]


def test_a_single_row_is_not_shrunk_to_nothing() -> None:
    assert shrinkage(features(1), 1.0, 1) == 0


def test_maps_and_tokens_are_averaged_and_padding_counts_nothing() -> None:
    coarse = torch.rand(2, 5, 3, 3)
    assert torch.equal(Shrinkage(1.0, 1, "map16").vectors({"map16": coarse}), coarse.mean((2, 3)))
    mask = torch.tensor([[True, True, False], [True, False, False]])
    tokens = torch.rand(2, 3, 4)
    found = Shrinkage(1.0, 1, "tokens").vectors({"tokens": tokens, "mask": mask})
    assert torch.allclose(found[0], tokens[0, :2].mean(0))


def test_the_spectrum_is_of_vectors_where_the_backbone_has_some() -> None:
    assert feature_of({"map8", "pooled", "tokens"}) == "pooled"
    assert feature_of({"tokens", "map8"}) == "tokens"
    assert feature_of({"map8", "map32", "map16"}) == "map32"
