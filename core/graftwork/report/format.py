"""How numbers and settings are written on a page."""

from __future__ import annotations

import json
import math
from typing import Any


def number(value: Any) -> str:
    """A cell: floats with four digits, large counts with commas, lists and dicts as JSON, None as a dash.

    >>> number(0.91234567), number(1797), number(None), number(1e-05)
    ('0.9123', '1,797', '–', '1e-05')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        size = abs(value)
        return f"{value:.4f}" if 0.001 <= size < 10 else f"{value:.4g}" if size < 1e4 else f"{value:,.0f}"
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def setting(value: Any) -> str:
    """A setting as it would be typed: numbers without commas and without rounding."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return number(value)


def inline(value: Any) -> str:
    """A small mapping as part of a sentence.

    >>> inline({"name": "L2SP", "alpha": 0.01})
    'L2SP, alpha 0.01'
    """
    if not isinstance(value, dict):
        return number(value)
    parts = [setting(entry) if name == "name" else f"{name} {setting(entry)}" for name, entry in value.items()]
    return ", ".join(parts)


def seconds(value: Any) -> str:
    """A duration.

    >>> seconds(0.42), seconds(75), seconds(7260)
    ('0.42 s', '1 min 15 s', '2 h 1 min')
    """
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    if value < 60:
        return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"
    whole = round(value)
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def mebibytes(value: Any) -> str:
    """Bytes as MiB or GiB."""
    if not isinstance(value, int | float):
        return "–"
    return f"{value / 2**20:,.0f} MiB" if value < 2**30 else f"{value / 2**30:,.1f} GiB"


def share(part: Any, whole: Any) -> str:
    """`part` of `whole` in per cent, or nothing when one is not known."""
    if not isinstance(part, int | float) or not isinstance(whole, int | float) or not whole:
        return ""
    return f"{100 * part / whole:.1f} %" if part < whole else "all"
