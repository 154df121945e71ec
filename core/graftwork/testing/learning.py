"""Learns a few rows by heart, with the head alone on features that stay, and has the task score it for that."""

from __future__ import annotations

import copy

import torch

from graftwork.interfaces import Batch, Features, Head, Targets, Task
from graftwork.testing.base import doing
from graftwork.testing.subjects import Subject, load, plain_rows

ROWS = 4
_ROUNDS, _STEPS = 7, 18  # the metric is asked between rounds
_RATES = (1e-3, 1e-2, 3e-3)
_FALL = 0.7


def learn_by_heart(subject: Subject, least: float) -> None:
    """Hold a head to learning four rows: the loss falls, and the primary metric on these rows reaches `least`.

    Several learning rates are tried: a check of right and wrong must not be one of the best rate.
    """
    model = subject.model()
    batch = plain_rows(subject, model.backbone.input, range(min(ROWS, len(subject.few["train"]))))
    examples = subject.examples("train", model.backbone.input, False)
    truth = load(examples, batch.rows.tolist())
    with torch.no_grad():
        given = {name: value.clone() for name, value in model.features(batch).items()}
        asked = {name: value.clone() for name, value in model.features(truth).items()}
    falls, scores = [], []
    for rate in _RATES:
        head = copy.deepcopy(model.head)
        fall, score = _learn(head, given, batch.targets, rate, subject, asked, truth, least)
        falls.append(fall)
        scores.append(score)
        if score >= least and fall <= _FALL:
            return
    assert min(falls) <= _FALL, (
        f"the loss does not fall on {ROWS} rows that are learned by heart: the best is {min(falls):.0%} of the first "
        f"after {_ROUNDS * _STEPS} steps"
    )
    metric = subject.task.primary_metric
    raise AssertionError(
        f"a head that has learned {ROWS} rows by heart (its loss fell to {min(falls):.0%}) reaches {metric} "
        f"{max(scores):.3g} on them, and not {least:g}: what it learns and what it predicts are not the same thing "
        "(labels off by one, boxes in other pixels)"
    )


def _learn(
    head: Head,
    given: Features,
    targets: Targets,
    rate: float,
    subject: Subject,
    asked: Features,
    truth: Batch,
    least: float,
) -> tuple[float, float]:
    """The loss at the end over that at the start, and the best metric that was reached."""
    optimizer = torch.optim.Adam([p for p in head.parameters() if p.requires_grad], lr=rate)
    head.train()
    losses: list[float] = []
    best = -float("inf")
    for _ in range(_ROUNDS):
        for _ in range(_STEPS):
            optimizer.zero_grad()
            with doing("computing the loss"):
                sums, counts = head.loss(given, targets), head.counts(targets)
            loss = torch.stack([part / counts[name].clamp(min=1e-6) for name, part in sums.items()]).sum()
            losses.append(float(loss.detach()))
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(head.parameters(), 10.0)
            optimizer.step()
        best = max(best, scored(subject.task, head, asked, truth, subject))
        if best >= least and _fall(losses) <= _FALL:
            break
    return _fall(losses), best


def _fall(losses: list[float]) -> float:
    """Towards the lowest loss that was seen, smoothed; from the first one."""
    last = sum(losses[-3:]) / len(losses[-3:])
    return last / losses[0] if losses[0] > 0 else 1.0


def scored(task: Task, head: Head, features: Features, batch: Batch, subject: Subject) -> float:
    """The primary metric of a head's predictions for these rows."""
    training = head.training
    head.eval()
    metrics = task.metrics(subject.facts, torch.device("cpu"))
    with torch.no_grad(), doing("predicting"):
        metrics.update(head.predict(features), batch)
    head.train(training)
    return float(metrics.compute().get(task.primary_metric, 0.0))
