"""Pictures that stand in a table's cells as text: in base64, or as addresses on the web."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence

from graftwork.errors import DataError

_BASE64 = re.compile(
    r"\s*(?:data:image/[\w.+-]+;base64,)?(?=/9j/|iVBORw0KGgo|R0lGOD|UklGR|Qk[0-3]|SUkqA|TU0AK)", re.ASCII
)
"""What the first bytes of JPEG, PNG, GIF, WebP, BMP and TIFF files become."""

_ADDRESS = re.compile(r"(?:https?|ftp|s3|gs)://", re.IGNORECASE)
_LEAST = 60  # signs; no picture is shorter


def contents_of(cells: Sequence[str]) -> list[bytes] | None:
    """Files from cells in base64, with `data:image/png;base64,` before it or not; None where any cell is something else.

    A cell that is empty, or damaged further in, gives an empty file.
    """
    full = [cell for cell in cells if cell.strip()]
    if not full or not all(len(cell) >= _LEAST and _BASE64.match(cell) for cell in full):
        return None
    return [_decoded(cell) for cell in cells]


def _decoded(cell: str) -> bytes:
    start = _BASE64.match(cell)
    try:
        return base64.b64decode("".join(cell[start.end() :].split()), validate=True) if start else b""
    except binascii.Error:
        return b""


def refuse_addresses(names: Sequence[str], there: Sequence[bool], where: str) -> None:
    """Stop where all names are addresses on the web, and none of them leads to a file.

    Raises:
        DataError: says to download them.
    """
    full = [name for name in names if name.strip()]
    if not full or any(there) or not all(_ADDRESS.match(name.strip()) for name in full):
        return
    hint = (
        "Download them into a folder beside the table, for example with wget -P images -i LIST: the last part of an address is "
        "looked for as a file's name"
    )
    raise DataError(
        f"its image column holds addresses ({full[0][:80]}), and pictures are not downloaded", where=where, hint=hint
    )
