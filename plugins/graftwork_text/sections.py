"""The text part of a report: what every classification shows, and the worst mistakes with their tokens marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graftwork.classification.mistakes import Mistake, mistakes_of, title_of
from graftwork.classification.sections import classification_sections
from graftwork.interfaces import Evaluation, Facts, Passages, Section, Text

MISTAKES = 24

HOW = (
    "by gradient × input of its tokens (Shrikumar et al. 2016), averaged on the way from the text's mean token (integrated "
    "gradients, Sundararajan et al. 2017) and scaled in every text by the largest. It is an estimate, not all that the "
    "model saw, and weights of two texts cannot be compared."
)


def text_sections(evaluation: Evaluation, facts: Facts) -> list[Section]:
    """Sections for one split; a part whose facts are missing is left out."""
    sections = classification_sections(evaluation, facts)
    if not evaluation.predictions:
        return sections
    kind = facts.get("labels", "single")
    title = title_of(kind)
    rows = evaluation.rows
    if rows is None or "label" not in rows.column_names:
        gone = Text("The data is no longer where it was, so its mistakes cannot be shown.")
        return [*sections, Section(title, [gone])]
    mistakes, told = mistakes_of(evaluation, facts, MISTAKES)
    blocks: list[Any] = [Text(told)]
    if mistakes:
        passages, marked = _passages(evaluation, facts, mistakes)
        if evaluation.model is None:
            blocks.append(Text("The model could not be loaded, so the words that misled it are not marked."))
        elif marked:
            some = "" if marked == len(mistakes) else f" Only {marked} texts are marked: more would take too long."
            blocks.append(Text(f"{_MEANING[kind]}, {HOW}{some}"))
        else:
            blocks.append(Text("The words are not marked: with this model that would take too long."))
        blocks.append(Passages(passages))
    return [*sections, Section(title, blocks)]


_MEANING = {
    "single": "A piece speaks for the class that was said against the true one (blue) or the reverse (orange)",
    "multi": "A piece speaks for the class that is named first (blue) or against it (orange)",
    "number": "A piece makes the number larger (blue) or smaller (orange)",
}
"""What a mark means, by what a label is: the beginning of a sentence."""


def _passages(evaluation: Evaluation, facts: Facts, mistakes: Sequence[Mistake]) -> tuple[list[Any], int]:
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
