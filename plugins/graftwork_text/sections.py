"""The text part of a report: what every classification shows, and the worst mistakes with their tokens marked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graftwork.classification.sections import classification_sections, short, wrong_rows
from graftwork.interfaces import Evaluation, Facts, Passages, Section, Text

MISTAKES = 24

HOW = (
    "by gradient × input of its tokens (Shrikumar et al. 2016), averaged on the way from the text's mean token (integrated "
    "gradients, Sundararajan et al. 2017) and scaled in every text by the largest. It is an estimate, not all that the "
    "model saw, and weights of two texts cannot be compared."
)


@dataclass(frozen=True)
class _Mistake:
    """A row to be shown: its number, its caption, the output to be explained and the one to be held against it."""

    row: int
    caption: str
    said: int
    other: int | None = None


def text_sections(evaluation: Evaluation, facts: Facts) -> list[Section]:
    """Sections for one split; a part whose facts are missing is left out."""
    sections = classification_sections(evaluation, facts)
    if not evaluation.predictions:
        return sections
    kind = facts.get("labels", "single")
    title = "Most confident mistakes" if kind == "single" else "Largest errors"
    rows = evaluation.rows
    if rows is None or "label" not in rows.column_names:
        gone = Text("The data is no longer where it was, so its mistakes cannot be shown.")
        return [*sections, Section(title, [gone])]
    mistakes, told, meaning = {"single": _single, "multi": _multi, "number": _number}[kind](evaluation, facts)
    blocks: list[Any] = [Text(told)]
    if mistakes:
        passages, marked = _passages(evaluation, facts, mistakes)
        if evaluation.model is None:
            blocks.append(Text("The model could not be loaded, so the words that misled it are not marked."))
        elif marked:
            some = "" if marked == len(mistakes) else f" Only {marked} texts are marked: more would take too long."
            blocks.append(Text(f"{meaning}, {HOW}{some}"))
        else:
            blocks.append(Text("The words are not marked: with this model that would take too long."))
        blocks.append(Passages(passages))
    return [*sections, Section(title, blocks)]


Found = tuple[list[_Mistake], str, str]
"""The mistakes to show, a sentence about all of them, and what a mark means (the beginning of a sentence)."""


def _single(evaluation: Evaluation, facts: Facts) -> Found:
    classes = list(facts["classes"])
    wrong = wrong_rows(evaluation, classes) or []
    number = {name: index for index, name in enumerate(classes)}
    mistakes = [
        _Mistake(
            row,
            f"true {short(true)}, said {short(line['label'])} at {line['confidence']:.2f}, {_origin(line, row)}",
            number[line["label"]],
            number[true],
        )
        for row, true in wrong[:MISTAKES]
        for line in (evaluation.predictions[row],)
    ]
    if not mistakes:
        return [], "There is none: every row was classified as labelled.", ""
    told = (
        f"{len(wrong):,} of {len(evaluation.predictions):,} rows are wrong; the surest of them come first. "
        "Look for wrong labels too."
    )
    return (
        mistakes,
        told,
        "A piece speaks for the class that was said against the true one (blue) or the reverse (orange)",
    )


def _multi(evaluation: Evaluation, facts: Facts) -> Found:
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
    for _, row, worst, probability in errors[:MISTAKES]:
        line = evaluation.predictions[row]
        true, said = _names([classes[index] for index in labels[row]]), _names(_plain(line["labels"]))
        caption = f"{short(classes[worst])} at {probability:.2f}; true {true}, said {said}, {_origin(line, row)}"
        mistakes.append(_Mistake(row, caption, worst))
    told = "The rows with the largest error of a single class, which is named first. Look for wrong labels too."
    return mistakes, told, "A piece speaks for the class that is named first (blue) or against it (orange)"


def _number(evaluation: Evaluation, facts: Facts) -> Found:
    assert evaluation.rows is not None
    truth = evaluation.rows["label"][:]
    pairs = enumerate(zip(truth, evaluation.predictions, strict=False))
    errors = sorted((-abs(true - line["value"]), row) for row, (true, line) in pairs)
    mistakes = []
    for _, row in errors[:MISTAKES]:
        line = evaluation.predictions[row]
        mistakes.append(_Mistake(row, f"true {truth[row]:.4g}, said {line['value']:.4g}, {_origin(line, row)}", 0))
    told = "The rows whose number was missed furthest. Look for wrong labels too."
    return mistakes, told, "A piece makes the number larger (blue) or smaller (orange)"


def _passages(evaluation: Evaluation, facts: Facts, mistakes: Sequence[_Mistake]) -> tuple[list[Any], int]:
    """Passages of the rows, and how many of them have marks."""
    from graftwork_text.attribution import BETWEEN, mark

    assert evaluation.rows is not None
    rows = evaluation.rows.select([mistake.row for mistake in mistakes])
    if evaluation.model is None:
        names = [name for name in ("text", "text_pair") if name in rows.column_names]
        pieces = [[(BETWEEN.join(str(row[name]) for name in names), 0.0)] for row in rows]
    else:
        said, other = [mistake.said for mistake in mistakes], [mistake.other for mistake in mistakes]
        pieces = mark(evaluation.model, rows, facts, said, other)
    marked = sum(any(weight for _, weight in line) for line in pieces)
    return [(line, mistake.caption) for line, mistake in zip(pieces, mistakes, strict=True)], marked


def _plain(value: Any) -> Any:
    """A list or mapping; kept predictions hold it as JSON text."""
    return json.loads(value) if isinstance(value, str) else value


def _names(names: Sequence[str]) -> str:
    return " + ".join(short(name, 40) for name in names) or "none"


def _origin(line: Mapping[str, Any], row: int) -> str:
    return str(line.get("origin") or f"row {row}")
