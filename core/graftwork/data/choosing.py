"""Which of a table's columns is which canonical one: as the user says, by usual names, or by number."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from graftwork.data.names import bare
from graftwork.errors import DataError

_LONG_NAME = 30  # characters; a longer name of a column may well be a text
_NUMBERED = re.compile(r"(.+) \((\d+)\)")
_LABEL_STUDIO = ({"data", "annotations"}, {"data", "completions"}, {"data", "predictions"})


def unique_names(cells: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Names for columns, each once, and those that stood twice.

    A name is on one line, without blanks around; a column without one is called by its number, from 1, and one whose name
    stands twice has its number behind it: `label (2)`.
    """
    names = [" ".join(bare(cell).split()) for cell in cells]
    twice = list(dict.fromkeys(name for name in names if name and names.count(name) > 1)) if _repeats(names) else []
    named = tuple(
        str(number) if not name else f"{name} ({number})" if name in twice else name
        for number, name in enumerate(names, 1)
    )
    if len(set(named)) < len(named):
        named = tuple(str(number) for number in range(1, len(names) + 1))
    return named, twice


def _repeats(names: Sequence[str]) -> bool:
    return len(set(names)) < len(names)


def guess_columns(names: Sequence[str], guesses: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Canonical column to the source's, for those whose usual names occur: in any case, or with other signs between words."""
    by_lower = {bare(name).lower(): name for name in reversed(names)}
    by_letters = {_letters(name): name for name in reversed(names)}
    found: dict[str, str] = {}
    for canonical, usual in guesses.items():
        wanted = (canonical, *usual)
        there = [by_lower.get(guess) for guess in wanted] + [by_letters.get(_letters(guess)) for guess in wanted]
        name = next((name for name in there if name is not None and name not in found.values()), None)
        if name is not None:
            found[canonical] = name
    return found


def _letters(name: str) -> str:
    return re.sub(r"[\s_.-]+", "", bare(name).lower())


def choose_columns(
    names: Sequence[str],
    guesses: Mapping[str, Sequence[str]],
    columns: Mapping[str, str],
    group_by: str | None,
    where: str,
    fields: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, str]:
    """Canonical column to the source's column.

    Args:
        names: the source's columns, in order.
        guesses: every canonical column that is needed, with usual names of it, most likely first.
        columns: as the user said it.
        group_by: the source's column that becomes `group`.
        where: the source, for messages.
        fields: of those columns that hold objects, for messages.

    Raises:
        DataError: one is missing, or one column is to be two things.
    """
    there = [name for name in names if name != "origin"]
    asked = dict(columns) | ({"group": group_by} if group_by else {})
    given = {canonical: _meant(source, there) for canonical, source in asked.items()}
    for canonical, source in given.items():
        if source not in there:
            option = "--group-by" if canonical == "group" else f"--column {canonical}={source}"
            listed = f"has no column {source!r} ({option}); its columns: {', '.join(there)}"
            raise DataError(listed, where=where)
    rest = [name for name in there if name not in given.values()]
    chosen = {**guess_columns(rest, {key: usual for key, usual in guesses.items() if key not in given}), **given}
    for canonical, usual in guesses.items():
        if canonical not in chosen:
            raise _missing(canonical, usual, there, where, fields or {})
    if len(set(chosen.values())) < len(chosen):
        told = ", ".join(f"{canonical}={source}" for canonical, source in chosen.items())
        raise DataError(f"one column is to be two things ({told})", where=where, hint="Give another --column")
    return chosen


def _meant(source: str, names: Sequence[str]) -> str:
    """The column of that name; as it stands in a header, with line breaks; else the one of that number."""
    if source in names:
        return source
    on_one_line = " ".join(bare(source).split())
    if on_one_line in names:
        return on_one_line
    return names[int(source) - 1] if source.isdecimal() and 1 <= int(source) <= len(names) else source


def _missing(
    canonical: str, usual: Sequence[str], there: Sequence[str], where: str, fields: Mapping[str, Sequence[str]]
) -> DataError:
    """The error for a canonical column that none is, with what helps most."""
    what = f"has no column for {canonical!r}; its columns: {', '.join(there)}"
    known = {canonical, *usual}
    twice = [found[2] for name in there if (found := _NUMBERED.fullmatch(name)) and found[1].strip().lower() in known]
    inner = [f"{name}.{field}" for name, inside in fields.items() for field in inside if field.strip().lower() in known]
    if any(other <= set(there) for other in _LABEL_STUDIO):
        return DataError(f"{what}. This is Label Studio's JSON", where=where, hint="Export it as CSV or JSON-MIN there")
    if len(twice) > 1:
        hint = f"{' and '.join(twice)} have one name: say which with --column {canonical}={twice[0]}"
    elif inner:
        hint = f"Say which with --column {canonical}={inner[0]}, or --column {canonical}=NAME"
    else:
        hint = f"Say which with --column {canonical}=NAME, or by its number"
    numbered = list(there) == [str(number) for number in range(1, len(there) + 1)]
    if numbered:
        hint = f"Say which with --column {canonical}=NUMBER"
    elif any(len(name) > _LONG_NAME or " " in name or name.isdecimal() for name in there) and len(twice) < 2:
        hint += ". If these are no names but a row: --set data_options.header=no, and columns by their number"
    return DataError(what, where=where, hint=hint)
