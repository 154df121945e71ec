"""Which tokens spoke for what a model said: gradient times input, laid over the characters of the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from graftwork.interfaces import Facts, Model
from graftwork_text.examples import TextExamples
from graftwork_text.tokens import load_tokenizer

if TYPE_CHECKING:
    from datasets import Dataset

BATCH = 8
"""Rows whose gradients are computed together."""

BUDGET = 3e11
"""Floating-point operations that the marks of one report may cost: a few seconds of one processor core."""

BETWEEN = " ‖ "
"""Stands between the two texts of a pair."""

Piece = tuple[str, float]
Span = tuple[int, int, float]
"""First character, the one after the last, weight."""


def mark(
    model: Model, rows: Dataset, facts: Facts, said: Sequence[int], other: Sequence[int | None]
) -> list[list[Piece]]:
    """Texts in pieces, each with its weight from -1 to 1: positive where it speaks for what was said.

    The weight of a token is the gradient of a score with respect to the token's embedding (the state after the first
    stage, position included), times that embedding, summed over its channels: the score's change to first order if the
    embedding were taken away. Sources: Simonyan et al. 2013, "Deep Inside Convolutional Networks" (the gradient);
    Shrikumar et al. 2016, "Not Just a Black Box" (its product with the input). Weights are scaled for every text by its
    largest; special tokens are left out. Weights do not add up to the score.

    Args:
        model: on the CPU; put in eval mode here.
        rows: columns `text`, maybe `text_pair`; the most important first: after BUDGET, texts come without weights.
        said: for every row the output whose logit is the score.
        other: for every row an output whose logit is taken off the score, or None.

    Returns:
        Pieces that make up each text; a pair's two texts with BETWEEN between them.
    """
    names = [name for name in ("text", "text_pair") if name in rows.column_names]
    texts = [[str(row[name]) for name in names] for row in rows]
    examples = TextExamples(rows.select_columns(names), model.backbone.input, facts)
    within = _within_budget(model, examples.sizes())
    weights: dict[int, Tensor] = {}
    for group in (within[at : at + BATCH] for at in range(0, len(within), BATCH)):
        weights |= _weights(model, examples, group, [(said[row], other[row]) for row in group])
    tokenizer = load_tokenizer(model.backbone.input)
    tokenizer.enable_truncation(model.backbone.input.length, strategy="longest_first")
    pieces = []
    for row, parts in enumerate(texts):
        if row not in weights:
            pieces.append(_join(parts, [[] for _ in parts]))
            continue
        encoding = tokenizer.encode(*parts)
        pieces.append(_join(parts, _spans(encoding, weights[row].tolist(), len(parts))))
    return pieces


def _within_budget(model: Model, sizes: Sequence[int]) -> list[int]:
    """Row numbers, as many from the first on as the budget allows, the shortest first."""
    numbers = sum(parameter.numel() for stage in model.backbone.stages()[1:] for parameter in stage.parameters())
    # Two operations a number and token forward, two for the gradient of what comes in; none for the numbers' own.
    cost = np.cumsum(np.asarray(sizes, dtype=np.float64)) * 4 * numbers
    count = int(np.searchsorted(cost, BUDGET, side="right"))
    order: list[int] = np.argsort(np.asarray(sizes)[:count], kind="stable").tolist()
    return order


def _weights(
    model: Model, examples: TextExamples, rows: Sequence[int], outputs: Sequence[tuple[int, int | None]]
) -> dict[int, Tensor]:
    """Weights [T] of the tokens of some rows, by row."""
    batch = examples.collate(rows, [examples.load(row) for row in rows])
    backbone, needs = model.backbone, model.head.needs
    model.eval()
    with torch.no_grad():
        state = backbone.prefix(batch.inputs, 1, needs)
    with torch.enable_grad():
        x = state["x"].detach().requires_grad_()
        found = model.head.predict(backbone.suffix({**state, "x": x}, 1, needs))
        assert isinstance(found, dict)
        score = found["logits"].new_zeros(())
        for logits, (said, other) in zip(found["logits"], outputs, strict=True):
            score = score + logits[said] - (logits[other] if other is not None else 0.0)
        (gradient,) = torch.autograd.grad(score, x)
    products = torch.nan_to_num((gradient * x.detach()).sum(dim=2))
    return {row: values[mask] for row, values, mask in zip(rows, products, batch.inputs["mask"], strict=True)}


def _spans(encoding: Any, weights: Sequence[float], texts: int) -> list[list[Span]]:
    """For each text its spans with weights, in order, none over another, the largest weight of all 1 or -1."""
    spans: list[list[Span]] = [[] for _ in range(texts)]
    tokens = zip(encoding.offsets, encoding.sequence_ids, encoding.special_tokens_mask, weights, strict=True)
    for (first, last), sequence, special, weight in tokens:
        if special or sequence is None:
            continue
        mine = spans[sequence]
        if mine and (first < mine[-1][1] or first == last):
            # Several tokens of one character (its bytes), or one of no character.
            before = mine.pop()
            mine.append((before[0], max(before[1], last), before[2] + weight))
        elif first < last:
            mine.append((first, last, weight))
    largest = max((abs(weight) for line in spans for _, _, weight in line), default=0.0) or 1.0
    return [[(first, last, weight / largest) for first, last, weight in line] for line in spans]


def _join(texts: Sequence[str], spans: Sequence[Sequence[Span]]) -> list[Piece]:
    """The texts in pieces: spans with their weights, and with 0 what lies between them."""
    pieces: list[Piece] = []
    for number, (text, line) in enumerate(zip(texts, spans, strict=True)):
        if number:
            pieces.append((BETWEEN, 0.0))
        at = 0
        for first, last, weight in line:
            if at < first:
                pieces.append((text[at:first], 0.0))
            pieces.append((text[first:last], weight))
            at = last
        if at < len(text):
            pieces.append((text[at:], 0.0))
    return pieces
