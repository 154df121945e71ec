"""The head `attention`: learns which tokens to look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from graftwork.classification.heads import ClassificationHead, small_linear
from graftwork.interfaces import Backbone, Facts, Features, Head, Spec


class AttentionHead(ClassificationHead):
    """One learned query over `tokens` [B, T, C]: their mean, weighted by a softmax over the tokens of the mask.

    As the word attention of Yang et al. 2016, "Hierarchical Attention Networks for Document Classification", without its
    hidden layer. It starts as the plain mean.
    """

    needs = frozenset({"tokens"})

    def __init__(self, width: int, options: Mapping[str, Any], facts: Facts) -> None:
        super().__init__(options, facts)
        self.query = nn.Parameter(torch.zeros(width))
        self.dropout = nn.Dropout(float(options["dropout"]))
        self.linear = small_linear(width, self.classes)

    def scores(self, features: Features) -> Tensor:
        pooled = self.pool(features["tokens"], features["mask"]).to(self.linear.weight.dtype)
        result: Tensor = self.linear(self.dropout(pooled))
        return result

    def pool(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """[B, C], float32; what the mask leaves out counts nothing."""
        tokens = tokens.float().masked_fill(~mask.unsqueeze(-1), 0.0)
        weight = (tokens @ self.query.float()) / tokens.shape[-1] ** 0.5
        weight = weight.masked_fill(~mask, torch.finfo(weight.dtype).min).softmax(dim=1)
        return torch.einsum("bt,btc->bc", weight, tokens)


def build(spec: Spec, backbone: Backbone, facts: Facts) -> Head:
    """The head `attention`."""
    return AttentionHead(backbone.provides["tokens"], spec.options, facts)
