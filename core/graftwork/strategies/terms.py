"""Terms that several strategies share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graftwork.interfaces import Batch, Features, Model, Term


class StartingPoint(Term):
    """alpha/2 · ||w - w0||² over the backbone plus beta/2 · ||w||² over the head (Li, Grandvalet, Davoine 2018).

    It looks at no row. As a sum over rows it counts once a step, however the batch is split.
    """

    def __init__(self, alpha: float, beta: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self._start: dict[str, Tensor] = {}

    def start(self, model: Model) -> None:
        self._start = {name: value.detach().clone() for name, value in model.backbone.named_parameters()}

    def loss(self, model: Model, batch: Batch, features: Features) -> dict[str, Tensor]:
        return {"l2-sp": len(batch) * self.penalty(model)}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"l2-sp": torch.tensor(float(len(batch)))}

    def penalty(self, model: Model) -> Tensor:
        """The penalty of the weights as they are, a scalar."""
        parameters = dict(model.backbone.named_parameters())
        distances = [
            (parameters[name] - start.to(parameters[name].device)).square().sum() for name, start in self._start.items()
        ]
        norms = [parameter.square().sum() for parameter in model.head.parameters()]
        return 0.5 * self.alpha * torch.stack(distances).sum() + 0.5 * self.beta * torch.stack(norms).sum()

    def describe(self) -> dict[str, Any]:
        return {"name": "l2-sp", "alpha": self.alpha, "beta": self.beta}
