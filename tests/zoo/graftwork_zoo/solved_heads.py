"""A head that is solved by ridge regression, and heads that solve themselves wrongly in one way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from graftwork.interfaces import Backbone, Facts, Features, Head, Spec, Targets
from graftwork_zoo.heads import TameLinear, _label

Items = Iterable[tuple[Features, Targets]]
Solved = dict[str, Tensor]


class TameSolved(TameLinear):
    """Least squares with a ridge, on classes as 0 and 1."""

    def solve(self, items: Items, options: Mapping[str, Any]) -> Solved:
        classes, width = self.linear.weight.shape
        gram = torch.eye(width + 1, dtype=torch.float64) * float(options.get("ridge", 0.1))
        moments = torch.zeros(width + 1, classes, dtype=torch.float64)
        for features, targets in items:
            pooled = features["pooled"].double()
            rows = torch.cat([pooled, torch.ones(len(pooled), 1, dtype=torch.float64)], dim=1)
            gram += rows.T @ rows
            moments += rows.T @ functional.one_hot(_label(targets), classes).double()
        found = torch.linalg.solve(gram, moments).float()
        return {"linear.weight": found[:-1].T.contiguous(), "linear.bias": found[-1]}


class SolvesOtherNames(TameSolved):
    def solve(self, items: Items, options: Mapping[str, Any]) -> Solved:
        return {name.removeprefix("linear."): value for name, value in super().solve(items, options).items()}


class SolvesByChance(TameSolved):
    def solve(self, items: Items, options: Mapping[str, Any]) -> Solved:
        return {name: value + 0.01 * torch.rand_like(value) for name, value in super().solve(items, options).items()}


class SolvesInPlace(TameSolved):
    def solve(self, items: Items, options: Mapping[str, Any]) -> Solved:
        found = super().solve(items, options)
        with torch.no_grad():
            self.linear.weight.copy_(found["linear.weight"])
        return found


class SolvesTheLastBatch(TameSolved):
    def solve(self, items: Items, options: Mapping[str, Any]) -> Solved:
        return super().solve(list(items)[-1:], options)


class SolvesBackwards(TameSolved):
    def solve(self, items: Items, options: Mapping[str, Any]) -> Solved:
        return {name: -value for name, value in super().solve(items, options).items()}


ALL: Mapping[str, type[TameSolved]] = {
    "tame-solved": TameSolved,
    "solves-other-names": SolvesOtherNames,
    "solves-by-chance": SolvesByChance,
    "solves-in-place": SolvesInPlace,
    "solves-the-last-batch": SolvesTheLastBatch,
    "solves-backwards": SolvesBackwards,
}


def build(spec: Spec, backbone: Backbone, facts: Facts) -> Head:
    return ALL[spec.name](backbone.provides["pooled"], len(facts["classes"]), spec.options)
