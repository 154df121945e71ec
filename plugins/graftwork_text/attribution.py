"""Which tokens spoke for what a model said: gradients times inputs, laid over the characters of the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from graftwork.interfaces import Batch, Facts, Model
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

STEPS = 4
"""Gradients a text; 8 and 16 gave the same picture."""

Piece = tuple[str, float]
Span = tuple[int, int, float]
"""First character, the one after the last, weight."""


def mark(
    model: Model, rows: Dataset, facts: Facts, said: Sequence[int], other: Sequence[int | None]
) -> list[list[Piece]]:
    """Texts in pieces, each with its weight from -1 to 1: positive where it speaks for what was said.

    The weight of a token is gradient times input (Shrikumar et al. 2016, "Not Just a Black Box"), as integrated gradients
    do it (Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks"): the input is the token's embedding (the
    state after the first stage) less the mean over the text's tokens, and gradients of a score are averaged over STEPS
    points on the way from that mean. The gradient at the text alone is not enough: behind a LayerNorm, of a model that is
    sure, its sign says little. Against leaving tokens out, MiniLM on 119 sentences of SST-2 gave the most important token
    its right sign in 56 % with gradient times input and in 93 % this way, for about twice the time.

    Weights are scaled for every text by its largest; special tokens are left out. Weights do not add up to the score.

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
    tokenizer = load_tokenizer(model.backbone.input)
    tokenizer.enable_truncation(model.backbone.input.length, strategy="longest_first")
    encodings = {row: tokenizer.encode(texts[row][0], texts[row][1] if len(names) > 1 else None) for row in within}
    pieces = [_join(parts, [[] for _ in parts]) for parts in texts]
    for group in (within[at : at + BATCH] for at in range(0, len(within), BATCH)):
        batch = examples.collate(group, [examples.load(row) for row in group])
        special = [torch.tensor(encodings[row].special_tokens_mask, dtype=torch.bool) for row in group]
        content = ~pad_sequence(special, batch_first=True, padding_value=True)
        weights = _weights(model, batch, content, [(said[row], other[row]) for row in group])
        for row, line in zip(group, weights.tolist(), strict=True):
            pieces[row] = _join(texts[row], _spans(encodings[row], line[: len(encodings[row])], len(names)))
    return pieces


def _within_budget(model: Model, sizes: Sequence[int]) -> list[int]:
    """Row numbers, as many from the first on as the budget allows, the shortest first."""
    numbers = sum(parameter.numel() for stage in model.backbone.stages()[1:] for parameter in stage.parameters())
    # Two operations a number and token forward, two for the gradient of what comes in; none for the numbers' own.
    cost = np.cumsum(np.asarray(sizes, dtype=np.float64)) * 4 * numbers * STEPS
    count = int(np.searchsorted(cost, BUDGET, side="right"))
    order: list[int] = np.argsort(np.asarray(sizes)[:count], kind="stable").tolist()
    return order


def _weights(model: Model, batch: Batch, content: Tensor, outputs: Sequence[tuple[int, int | None]]) -> Tensor:
    """Weights [B, T] of the tokens of a batch; `content` bool [B, T] is true at tokens that stand for text."""
    extractor = model.extractor
    model.eval()
    with torch.no_grad():
        state = model.backbone.prefix(batch.inputs, 1, extractor.needs)
        x = state["x"]
        share = content.unsqueeze(2).to(x.dtype)
        mean = (x * share).sum(1, keepdim=True) / share.sum(1, keepdim=True).clamp(min=1)
        away = x - mean
    gradients = torch.zeros_like(x)
    for step in range(STEPS):
        with torch.enable_grad():
            between = (mean + away * ((step + 0.5) / STEPS)).requires_grad_()
            found = model.head.predict(extractor.features({**state, "x": between}, 1))
            assert isinstance(found, dict)
            scores = [
                logits[said] - (logits[other] if other is not None else 0.0)
                for logits, (said, other) in zip(found["logits"], outputs, strict=True)
            ]
            gradients += torch.autograd.grad(torch.stack(scores).sum(), between)[0]
    return torch.nan_to_num((gradients * away).sum(dim=2))


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
