"""Words for people: message lines, tables and the plan as plain text. Light: no torch, and rich only for a terminal.

stdout is for results, stderr for progress and messages. What comes from data or files is cleaned before a terminal sees it.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO


def say(line: str) -> None:
    """One message line on stderr, at once. Nobody reading any more (`2>&1 | head`) is no reason to end a training."""
    with contextlib.suppress(BrokenPipeError):
        print(clean(line, keep="\n"), file=sys.stderr, flush=True)  # noqa: T201 (the one place for messages)


def out(text: str = "") -> None:
    """Text on stdout: a result."""
    print(clean(text, keep="\n\t"))  # noqa: T201 (the one place for results)


def out_json(value: Any) -> None:
    """One JSON document on stdout; numbers that JSON lacks (NaN, infinity) become null."""
    print(json.dumps(_plain(value), indent=2, ensure_ascii=False))  # noqa: T201


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if value is None or isinstance(value, str | int):
        return value
    if hasattr(value, "item"):  # a numpy or torch scalar
        return _plain(value.item())
    return str(value)


def clean(text: str, keep: str = "") -> str:
    """Text without control characters: a file name or a class name must not steer the terminal.

    >>> clean("cat\\x1b[31m")
    'cat\\\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode("ascii") for char in text
    )


def one_line(text: str) -> str:
    """Text on one line, for error messages."""
    return clean(" ".join(text.split()))


def number(value: Any) -> str:
    """A count or a metric, readable: `11,176,512`, `0.973`, `3e-05`."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return str(value)
    return f"{value:.4g}"


def amount(value: int) -> str:
    """A parameter count in few characters.

    >>> amount(11_176_512)
    '11.2M'
    """
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f}{unit}"
    return str(value)


def duration(seconds: float) -> str:
    """Seconds as `4.2 s`, `3 min 20 s` or `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def out_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], stream: TextIO | None = None) -> None:
    """A table on stdout: aligned columns, drawn by rich when it is a terminal.

    Args:
        columns: titles, one a column.
        rows: cells, one a column; anything with a text form.
    """
    stream = stream or sys.stdout
    cells = [[clean(str(cell)) for cell in row] for row in rows]
    if not stream.isatty():
        print("\n".join(plain_table(columns, cells)), file=stream)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for index, title in enumerate(columns):
        table.add_column(Text(title), no_wrap=index == 0, overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    Console(file=stream).print(table)


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with aligned columns; the last one is not padded."""
    everything = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(row[index]) for row in everything) for index in range(len(columns))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in everything
    ]


def format_plan(plan: Mapping[str, Any]) -> str:
    """A plan (plan.json's content, or its `plan` part) as a compact table with the reasons.

    Args:
        plan: as `Plan.describe` gives it: strategy, epochs, phases.
    """
    plan = plan.get("plan", plan)
    phases = plan.get("phases", [])
    rows = []
    for index, phase in enumerate(phases, start=1):
        groups = phase.get("groups", [])
        rates = [group["lr"] for group in groups if "lr" in group] or [phase["lr"]]
        low, high = min(rates), max(rates)
        frozen = phase.get("frozen_stages", 0)
        rows.append(
            [
                str(index),
                clean(str(phase["name"])),
                str(phase["epochs"]),
                f"{frozen} of {phase.get('stages', '?')}" if frozen else "none",
                number(float(high)) if low == high else f"{number(float(low))} to {number(float(high))}",
                f"{phase.get('schedule', '')}" + (f", warm-up {phase['warmup']:.0%}" if phase.get("warmup") else ""),
                amount(sum(group.get("parameters", 0) for group in groups)),
            ]
        )
    titles = ["", "phase", "epochs", "frozen stages", "lr", "schedule", "trained"]
    epochs = plan.get("epochs", "?")
    lines = [f"plan: {clean(str(plan.get('strategy', '?')))}, {epochs} epoch{'' if epochs == 1 else 's'}"]
    lines += [f"  {line}" for line in plain_table(titles, rows)]
    for index, phase in enumerate(phases, start=1):
        notes = [str(phase["reason"])] if phase.get("reason") else []
        for term in phase.get("terms") or ():
            settings = ", ".join(f"{key} {number(value)}" for key, value in term.items() if key != "name")
            notes.append(f"term {term['name']}" + (f" ({settings})" if settings else ""))
        if phase.get("frozen_stages") and phase.get("rows"):
            notes.append(_rows_in_words(phase["rows"]))
        if notes:
            lines.append(f"  {index}: {clean('; '.join(notes))}")
    return "\n".join(lines)


def _rows_in_words(rows: Mapping[str, Any]) -> str:
    """What a phase trains from, and what that costs: the `rows` of a phase in plan.json."""
    views = f" in {rows['views']} fixed view{'' if rows['views'] == 1 else 's'}" if rows["views"] else ""
    if rows["kept"]:
        return f"kept states: {rows['states']:,} rows{views}, {byte_size(rows['bytes'])} on disk, {rows['reason']}"
    return f"no kept states{f', rows{views}' if views else ''} ({rows['reason']})"


def byte_size(count: float) -> str:
    """Bytes in few characters.

    >>> byte_size(12_345_678)
    '12 MB'
    """
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if value >= 10 or unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
