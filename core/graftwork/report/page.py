"""Templates and blocks: everything is escaped here, once. Only figures and pictures that we encoded pass as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import ChainableUndefined, Environment, PackageLoader
from markupsafe import Markup

from graftwork import __version__
from graftwork.interfaces import Figure, Passages, Pictures, Section, Table, Text
from graftwork.report import format
from graftwork.report.figures import to_data_uri, to_svg
from graftwork.report.passages import draw_passage

TINY = 64
"""Pixels: pictures up to this size are enlarged with their pixels visible."""

LARGE = 400
"""Pixels: pictures with a longer side have a line of their own."""


def fill(template: str, values: dict[str, Any]) -> str:
    """A template of this package with values, as one HTML text."""
    environment = Environment(
        loader=PackageLoader("graftwork.report", "templates"),
        autoescape=True,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"inline": format.inline, "number": format.number, "setting": format.setting}
    environment.globals |= {"numeric": _numeric, "version": __version__}
    text = environment.get_template(template).render(values)
    # A half surrogate (from an undecodable file name) can be written to no file.
    return text.encode("utf-8", errors="replace").decode("utf-8")


def draw_sections(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """Sections as the templates take them.

    Raises:
        TypeError: a block of an unknown type.
    """
    return [
        {
            "title": section.title,
            "blocks": [draw(block, f"section{number}-{at}") for at, block in enumerate(section.blocks)],
        }
        for number, section in enumerate(sections)
    ]


def draw(block: Any, salt: str) -> dict[str, Any]:
    """One block as the templates take it; `salt` names its place on the page."""
    match block:
        case Text(text):
            return {"kind": "text", "text": text}
        case Table(columns, rows):
            return {"kind": "table", "columns": columns, "rows": rows}
        case Figure(figure, caption):
            # matplotlib escapes its texts itself (tested).
            return {"kind": "figure", "svg": Markup(to_svg(figure, salt)), "caption": caption}
        case Pictures(images, side):
            pictures = [
                {"uri": to_data_uri(image, side), "tiny": max(image.size) <= TINY, "caption": caption}
                for image, caption in images
            ]
            return {"kind": "pictures", "pictures": pictures, "large": side > LARGE}
        case Passages(passages):
            drawn = [draw_passage(pieces, caption) for pieces, caption in passages]
            coloured = any("colour" in part for passage in drawn for part in passage["parts"])
            return {"kind": "passages", "passages": drawn, "legend": coloured}
    raise TypeError(f"a report has no block of type {type(block).__name__}")


def _numeric(rows: Sequence[Sequence[Any]], column: int) -> bool:
    cells = [row[column] for row in rows if column < len(row) and row[column] is not None]
    return bool(cells) and all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cells)
