"""Whether the values in masks number objects, picture by picture, and stand for no classes; and such masks as two classes."""

from __future__ import annotations

from graftwork.interfaces import Finding
from graftwork_segmentation.labelmap import REST, VOID, LabelMap
from graftwork_segmentation.lookup import key_of_code
from graftwork_segmentation.tags import BACKGROUND, OBJECT
from graftwork_segmentation.values import Census

_LEAST = 5  # masks, and values; of fewer nothing is said
_ALONE = 0.8  # of the values but for the most usual one: they are in one mask alone
_COUNTS = 3  # so many different numbers of objects, from 1 on without a gap in every mask


def number_objects(census: Census) -> str | None:
    """Why the values number objects, in words; None where they may be classes.

    Either nearly every value is in one mask only, so that nothing could be learned from it, or every mask has the values 1
    to k, and k is another number from mask to mask.
    """
    usual = background_of(census)
    others = [value for value in census.counts if value != usual and (census.by_colour or value != VOID)]
    alone = sum(census.homes[value] == 1 for value in others)
    what = "colours" if census.by_colour else "values"
    if census.masks >= _LEAST and len(others) >= _LEAST and alone >= _ALONE * len(others):
        return f"its masks have {len(others):,} {what}, of which {alone:,} are in one mask only"
    counts = set(census.counted)
    if not census.by_colour and 0 not in counts and len(counts) >= _COUNTS and max(counts) >= _LEAST <= census.masks:
        few, most = min(counts), max(counts)
        return (
            f"every one of its masks has the values 1 to a number that is another from mask to mask ({few} to {most})"
        )
    return None


def background_of(census: Census) -> int:
    """0, or black; where no mask has it, the value in most masks."""
    if 0 in census.counts:
        return 0
    return max(census.counts, key=lambda value: (census.homes[value], census.counts[value][0]))


def as_one_object(census: Census) -> tuple[LabelMap, Finding]:
    """Everything but the background as one class; 255 is not scored where values count from 1 and 255 lies apart."""
    usual = background_of(census)
    indices = {key_of_code(usual, census.by_colour): 0, REST: 1}
    others = sorted(value for value in census.counts if value not in (usual, VOID))
    if not census.by_colour and VOID in census.counts and others and others[-1] < VOID - 1:
        indices[str(VOID)] = VOID
    void = ", and 255 is not scored" if VOID in indices.values() else ""
    message = f"everything but {key_of_code(usual, census.by_colour)} in the masks is one class, {OBJECT!r}{void}"
    return LabelMap((BACKGROUND, OBJECT), indices, "the option mask_values"), Finding("one-object", "note", message)
