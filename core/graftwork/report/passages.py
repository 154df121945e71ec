"""Texts with coloured pieces: what of a long text is shown, and how its pieces look."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from itertools import groupby
from typing import Any

LIMIT = 600
"""Characters of a text that are shown, about."""

AROUND = 40
"""Characters shown before and after a strong piece of a text that is cut."""

FAINTEST = 0.04
"""Weights below this get no colour: the eye would not see it."""

FOR, AGAINST = "31,111,180", "214,110,32"
"""Blue and orange as red, green, blue: told apart by people who see no red or no green."""

_JOINERS = frozenset("\u200c\u200d\u200e\u200f")
"""Invisible and yet part of ordinary writing: Persian, Indic scripts, emoji families."""

Piece = tuple[str, float]


def draw_passage(pieces: Sequence[Piece], caption: str) -> dict[str, Any]:
    """A text as the template takes it: `parts`, each with `text` and `kind` (plain, for, against or gap), `caption`, `cut`.

    Args:
        pieces: text and weight, -1 to 1; weights beyond count as -1 or 1, and such that are no numbers as 0.
    """
    pieces = [(text, _weight(weight)) for text, weight in pieces if text]
    total = sum(len(text) for text, _ in pieces)
    shown = _choose(pieces, total) if total > LIMIT else b"\1" * total
    count = shown.count(1)
    return {
        "parts": _parts(pieces, shown),
        "caption": caption,
        "cut": f"{count:,} of {total:,} characters, around the strongest pieces" if count < total else "",
    }


def _weight(weight: float) -> float:
    return max(-1.0, min(1.0, float(weight))) if math.isfinite(weight) else 0.0


def _choose(pieces: Sequence[Piece], total: int) -> bytes:
    """For each character 1 when it is shown: the strongest pieces with what stands around them, then the beginning."""
    spans = []
    start = 0
    for text, weight in pieces:
        spans.append((abs(weight), start, start + len(text)))
        start += len(text)
    strongest = sorted((span for span in spans if span[0] >= FAINTEST), key=lambda span: (-span[0], span[1]))
    shown = bytearray(total)
    count = 0
    for _, first, last in [*strongest, (0.0, 0, total)]:
        left = LIMIT - count
        if left <= 0:
            break
        window = slice(max(0, first - AROUND), min(total, last + AROUND, first + left))
        count += shown.count(0, window.start, window.stop)
        shown[window] = b"\1" * (window.stop - window.start)
    return bytes(shown)


def _parts(pieces: Sequence[Piece], shown: bytes) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    hidden = start = 0
    for text, weight in pieces:
        for visible, group in groupby(
            zip(shown[start : start + len(text)], text, strict=True), key=lambda pair: pair[0]
        ):
            signs = "".join(sign for _, sign in group)
            if not visible:
                hidden += len(signs)
                continue
            if hidden:
                parts.append(_gap(hidden))
                hidden = 0
            parts.append(_part(signs, weight))
        start += len(text)
    return [*parts, _gap(hidden)] if hidden else parts


def _gap(characters: int) -> dict[str, Any]:
    return {"kind": "gap", "text": f" [… {characters:,} …] "}


def _part(text: str, weight: float) -> dict[str, Any]:
    text = "".join(map(_visible, text))
    if abs(weight) < FAINTEST:
        return {"kind": "plain", "text": text}
    colour = f"rgba({FOR if weight > 0 else AGAINST},{0.08 + 0.6 * abs(weight):.2f})"
    return {"kind": "for" if weight > 0 else "against", "text": text, "colour": colour, "weight": f"{weight:+.2f}"}


def _visible(sign: str) -> str:
    """A sign that cannot be seen by its number: it may be what misled the model, and some would reorder the page."""
    if sign.isprintable() or sign.isspace() or sign in _JOINERS or unicodedata.category(sign) == "Zs":
        return sign
    return f"⟨U+{ord(sign):04X}⟩"
