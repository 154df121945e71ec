"""What a report page is made of. Plain content; `graftwork.report` escapes and draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows under column heads; cells are text or numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Figure:
    """A matplotlib figure with its caption; embedded as SVG."""

    figure: Any
    caption: str = ""


@dataclass(frozen=True)
class Pictures:
    """PIL images with a caption each; embedded as JPEGs.

    Args:
        images: image and caption.
        side: pixels, the longer side on the page at most; above 400 each has a line of its own.
    """

    images: Sequence[tuple[Any, str]]
    side: int = 192


@dataclass(frozen=True)
class Passages:
    """Texts in pieces with a weight each, -1 to 1, and a caption each; a weight colours its piece (for or against)."""

    passages: Sequence[tuple[Sequence[tuple[str, float]], str]]


Block = Text | Table | Figure | Pictures | Passages


@dataclass(frozen=True)
class Section:
    """A headed part of the report."""

    title: str
    blocks: Sequence[Block]
