"""The report's part on images: what every classification shows, and the most confident mistakes as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graftwork.classification.mistakes import mistakes_of, title_of
from graftwork.classification.sections import classification_sections
from graftwork.errors import DataError
from graftwork.interfaces import Evaluation, Facts, Pictures, Section, Text
from graftwork.vision.levels import Ranges, ranges_of

MISTAKES = 24


def image_sections(evaluation: Evaluation, facts: Facts) -> list[Section]:
    """Sections for one split; a part whose facts are missing is left out."""
    sections = classification_sections(evaluation, facts)
    if evaluation.predictions:
        kind = facts.get("labels", "single")
        sections.append(Section(title_of(kind), _mistakes(evaluation, facts)))
    return sections


def _mistakes(evaluation: Evaluation, facts: Facts) -> list[Any]:
    rows = evaluation.rows
    if rows is None or "label" not in rows.column_names:
        return [Text("The data is no longer where it was, so its mistakes cannot be shown.")]
    mistakes, told = mistakes_of(evaluation, facts, MISTAKES)
    if not mistakes:
        return [Text(told)]
    ranges = ranges_of(facts)
    drawn = [(_picture(rows[mistake.row], ranges), mistake.caption) for mistake in mistakes]
    return [Text(told), Pictures([(image, caption) for image, caption in drawn if image is not None])]


def _picture(row: Mapping[str, Any], ranges: Ranges) -> Any:
    from PIL import Image

    from graftwork.vision.decode import decode_rgb

    try:
        return Image.fromarray(decode_rgb(row["image"], ranges).permute(1, 2, 0).contiguous().numpy())
    except DataError:
        return None  # moved or deleted since; its line is in the predictions all the same
