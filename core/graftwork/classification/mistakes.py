"""The rows that a report shows: those that were missed furthest, whatever is labelled and whatever a label is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graftwork.classification.sections import short, wrong_rows
from graftwork.interfaces import Evaluation, Facts


@dataclass(frozen=True)
class Mistake:
    """A row to be shown: its number, its caption, the output to be explained and the one to be held against it."""

    row: int
    caption: str
    said: int
    other: int | None = None


def title_of(kind: str) -> str:
    """What a section of them is called."""
    return "Most confident mistakes" if kind == "single" else "Largest errors"


def mistakes_of(evaluation: Evaluation, facts: Facts, most: int) -> tuple[list[Mistake], str]:
    """The mistakes to show, furthest first, and a sentence about all of them.

    Args:
        evaluation: with its rows.
        facts: of the model.
        most: how many are shown.
    """
    made = {"single": _single, "multi": _multi, "number": _number}
    return made[facts.get("labels", "single")](evaluation, facts, most)


def _single(evaluation: Evaluation, facts: Facts, most: int) -> tuple[list[Mistake], str]:
    classes = list(facts["classes"])
    wrong = wrong_rows(evaluation, classes) or []
    number = {name: index for index, name in enumerate(classes)}
    mistakes = [
        Mistake(
            row,
            f"true {short(true)}, said {short(line['label'])} at {line['confidence']:.2f}, {_origin(line, row)}",
            number[line["label"]],
            number[true],
        )
        for row, true in wrong[:most]
        for line in (evaluation.predictions[row],)
    ]
    if not mistakes:
        return [], "There is none: every row was classified as labelled."
    told = (
        f"{len(wrong):,} of {len(evaluation.predictions):,} rows are wrong; the surest of them come first. "
        "Look for wrong labels too."
    )
    return mistakes, told


def _multi(evaluation: Evaluation, facts: Facts, most: int) -> tuple[list[Mistake], str]:
    """Rows by the class that they miss furthest: a probability far from 1 where it is there, or from 0 where it is not."""
    assert evaluation.rows is not None
    classes = list(facts["classes"])
    errors: list[tuple[float, int, int, float]] = []
    labels = evaluation.rows["label"][:]
    for row, (present, line) in enumerate(zip(labels, evaluation.predictions, strict=False)):
        probabilities = _plain(line["probabilities"])
        far = [abs((index in present) - probabilities[name]) for index, name in enumerate(classes)]
        worst = max(range(len(classes)), key=far.__getitem__)
        errors.append((far[worst], row, worst, probabilities[classes[worst]]))
    errors.sort(key=lambda error: (-error[0], error[1]))
    mistakes = []
    for _, row, worst, probability in errors[:most]:
        line = evaluation.predictions[row]
        true, said = _names([classes[index] for index in labels[row]]), _names(_plain(line["labels"]))
        caption = f"{short(classes[worst])} at {probability:.2f}; true {true}, said {said}, {_origin(line, row)}"
        mistakes.append(Mistake(row, caption, worst))
    told = "The rows with the largest error of a single class, which is named first. Look for wrong labels too."
    return mistakes, told


def _number(evaluation: Evaluation, facts: Facts, most: int) -> tuple[list[Mistake], str]:
    assert evaluation.rows is not None
    truth = evaluation.rows["label"][:]
    pairs = enumerate(zip(truth, evaluation.predictions, strict=False))
    errors = sorted((-abs(true - line["value"]), row) for row, (true, line) in pairs)
    mistakes = []
    for _, row in errors[:most]:
        line = evaluation.predictions[row]
        mistakes.append(Mistake(row, f"true {truth[row]:.4g}, said {line['value']:.4g}, {_origin(line, row)}", 0))
    told = "The rows whose number was missed furthest. Look for wrong labels too."
    return mistakes, told


def _plain(value: Any) -> Any:
    """A list or mapping; kept predictions hold it as JSON text."""
    return json.loads(value) if isinstance(value, str) else value


def _names(names: Sequence[str]) -> str:
    return " + ".join(short(name, 40) for name in names) or "none"


def _origin(line: Mapping[str, Any], row: int) -> str:
    return str(line.get("origin") or f"row {row}")
