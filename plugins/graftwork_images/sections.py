"""The report's part on images: what every classification shows, and the most confident mistakes as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graftwork.classification.sections import classification_sections, short, wrong_rows
from graftwork.errors import DataError
from graftwork.interfaces import Evaluation, Facts, Pictures, Section, Text
from graftwork.vision.levels import Ranges, ranges_of

MISTAKES = 24


def image_sections(evaluation: Evaluation, facts: Facts) -> list[Section]:
    """Sections for one split; a part whose facts are missing is left out."""
    sections = classification_sections(evaluation, facts)
    classes = [str(name) for name in evaluation.details.get("classes") or facts["classes"]]
    if evaluation.predictions:
        sections.append(Section("Most confident mistakes", _mistakes(evaluation, classes, ranges_of(facts))))
    return sections


def _mistakes(evaluation: Evaluation, classes: Sequence[str], ranges: Ranges) -> list[Any]:
    rows = evaluation.rows
    wrong = wrong_rows(evaluation, classes)
    if wrong is None or rows is None:
        return [Text("The data is no longer where it was, so its mistakes cannot be shown.")]
    if not wrong:
        return [Text("There is none: every row was classified as labelled.")]
    pictures = []
    for at, truth in wrong[:MISTAKES]:
        line = evaluation.predictions[at]
        image = _picture(rows[at], ranges)
        if image is not None:
            origin = str(line.get("origin") or rows[at].get("origin") or f"row {at}")
            said = short(line["label"])
            caption = f"true {short(truth)}, said {said} at {line['confidence']:.2f}, {origin}"
            pictures.append((image, caption))
    count = f"{len(wrong):,} of {len(rows):,} rows are wrong; the surest of them come first. Look for wrong labels too."
    return [Text(count), Pictures(pictures)]


def _picture(row: Mapping[str, Any], ranges: Ranges) -> Any:
    from PIL import Image

    from graftwork.vision.decode import decode_rgb

    try:
        return Image.fromarray(decode_rgb(row["image"], ranges).permute(1, 2, 0).contiguous().numpy())
    except DataError:
        return None  # moved or deleted since; its line is in the predictions all the same
