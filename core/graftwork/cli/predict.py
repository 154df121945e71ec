"""`graft predict`: a finished run's model on files, folders, texts, or lines from stdin."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from graftwork.cli.options import Column, Device, Json, SetData, columns_of, data_options_of
from graftwork.console import number, one_line, out, out_json, say
from graftwork.errors import DataError, UsageError
from graftwork.machine.garbage import importing

SOME_LOST = 5
"""The exit code where some inputs were predicted and others could not be read."""


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Files, folders or text; - reads texts, a line each.")
    ],
    device: Device = None,
    column: Column = None,
    assignments: SetData = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first input that cannot be read.")] = False,
    threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="The score from which on something counts as found.")
    ] = None,
    draw: Annotated[bool, typer.Option("--draw", help="Write each input with its prediction drawn on it.")] = False,
    target: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR|FILE.csv",
            help="Where files (masks, drawings) are written (predictions/); or a table for the predictions.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict: one line an input (input, label, confidence), or one JSON list; masks and drawings as files.

    What cannot be read is named on stderr, and the others go on; the exit code is 5 then, and 3 where nothing could be read.
    """
    from graftwork.catalogue import load_catalogue
    from graftwork.catalogue.references import read_model_card

    columns, written = columns_of(column), data_options_of(assignments)
    read_model_card(run)
    noted = Noted(strict)
    words, contents = expand(inputs, _stdin, noted.refuse)
    if not words and not noted.count:
        raise DataError("there is nothing to predict: stdin held no lines")
    catalogue = load_catalogue()

    with importing():
        from graftwork.interfaces import Inputs
        from graftwork.runs.answers import place_of, write_table
        from graftwork.runs.outputs import OutputFiles
        from graftwork.runs.predict import predict_with

    as_table, folder = place_of(target)
    if as_table is not None:
        refuse_input_as_output(words, contents, as_table)
    files = OutputFiles(folder)
    given = Inputs(tuple(words), frozenset(contents), columns, {}, as_table is not None, noted.refuse, files.expect)
    found = predict_with(run, given, catalogue, device or "auto", draw, threshold, written) if words else iter(())
    predictions: Iterator[Mapping[str, Any]] = map(files.write, found)
    if as_table is not None:
        predictions = write_table(predictions, as_table)
    count = _tell(predictions, as_json)
    if count and target is not None and as_table is None and not folder.exists():
        say(f"graft: nothing is in {target}: these predictions have no files; --out FILE.csv writes them as a table")
    if noted.count:
        if count:
            say(f"graft: {noted.count:,} of {noted.count + count:,} inputs could not be read and have no prediction")
        raise typer.Exit(SOME_LOST if count else DataError.exit_code)


def _tell(predictions: Iterable[Mapping[str, Any]], as_json: bool) -> int:
    """Print predictions; how many there were."""
    if as_json:
        told = list(predictions)
        out_json(told)
        return len(told)
    count = 0
    for prediction in predictions:
        out(line(prediction))
        count += 1
    return count


class Noted:
    """Takes note of inputs that cannot be read: each is named on stderr at once.

    Args:
        strict: whether the first one ends the command.
    """

    def __init__(self, strict: bool) -> None:
        self.count = 0
        self._strict = strict

    def refuse(self, error: DataError) -> None:
        if self._strict:
            raise error
        self.count += 1
        say(f"graft: error: {one_line(str(error))}")


def _stdin() -> BinaryIO:
    if sys.stdin is None:  # `graft predict RUN - <&-`
        raise DataError("standard input is closed")
    return sys.stdin.buffer


def expand(
    inputs: Sequence[str], stdin: Callable[[], Iterable[bytes]], refuse: Callable[[DataError], None]
) -> tuple[list[str], list[int]]:
    """The inputs, `-` replaced by the lines of stdin that are not blank; and the numbers of those lines, which are texts whatever
    they look like. Blank lines between others are told by number.

    Args:
        stdin: opens it.
        refuse: called for every line that is no text.
    """
    words: list[str] = []
    lines: list[int] = []
    rows: Iterator[tuple[int, str]] | None = None
    blank: list[int] = []
    told: list[int] = []
    for word in inputs:
        if word != "-":
            words.append(word)
            continue
        rows = rows or _lines(b"".join(stdin()), refuse)
        for place, text in rows:
            if not text.strip():
                blank.append(place)
                continue
            told += blank
            blank.clear()
            lines.append(len(words))
            words.append(text)
    if lines and all(_is_object(words[number]) for number in lines[:5]):
        say(
            "graft: lines of standard input are texts, and these are JSON objects: write them to FILE.jsonl, and give that"
        )
    if told:
        shown = ", ".join(map(str, told[:5])) + (", …" if len(told) > 5 else "")
        say(f"graft: blank lines of standard input, which are no texts and get no prediction: {len(told):,} ({shown})")
    return words, lines


def refuse_input_as_output(words: Sequence[str], contents: Sequence[int], target: Path) -> None:
    """Stop where predictions would be written over what is to be read.

    Raises:
        UsageError: an input is the very file.
    """
    for place, word in enumerate(words):
        with suppress(OSError, ValueError):  # a text, which is no file
            if place not in contents and target.exists() and Path(word).expanduser().samefile(target):
                raise UsageError("is an input, and would be written over", where=str(target), hint="Name another --out")


def _is_object(text: str) -> bool:
    try:
        return text.startswith("{") and isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _lines(data: bytes, refuse: Callable[[DataError], None]) -> Iterator[tuple[int, str]]:
    """The lines of standard input with their numbers; those that are no text are refused."""
    from graftwork.files.text import HEAD, is_damaged, wide_encoding

    encoding = wide_encoding(data[:HEAD])
    if encoding:
        try:
            data = data.decode(encoding).encode()
        except UnicodeDecodeError:
            refuse(DataError(is_damaged(encoding), where="standard input", hint="Write it anew, as UTF-8"))
            return
    for place, row in enumerate(BytesIO(data), start=1):
        where = f"line {place} of standard input"
        try:
            text = row.decode("utf-8-sig" if place == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            what = f"byte {error.start + 1} (0x{row[error.start]:02x}) is not UTF-8"
            hint = "Convert it first, for example with iconv -f WINDOWS-1252 -t UTF-8"
            refuse(DataError(what, where=where, hint=hint))
            continue
        if "\0" in text:
            hint = "Lines that end with NUL are parted by tr '\\0' '\\n'; UTF-16 is converted by iconv -f UTF-16LE -t UTF-8"
            refuse(DataError(f"character {text.index(chr(0)) + 1} is NUL, which is in no text", where=where, hint=hint))
            continue
        yield place, text


def line(prediction: Mapping[str, Any]) -> str:
    """One prediction as tab-separated text: input, label, confidence; other fields follow as name=value. Of lists of objects
    their number is told, of those with a score the number from the prediction's threshold on; of other lists what they hold."""
    least = prediction.get("threshold", 0.0)
    shown = [str(prediction.get("input", ""))]
    if "label" in prediction:
        shown.append(str(prediction["label"]))
    if "confidence" in prediction:
        shown.append(f"{prediction['confidence']:.4f}")
    shown += [
        f"{name}={_listed(name, value, least) if isinstance(value, list) else number(value)}"
        for name, value in prediction.items()
        if name not in ("input", "label", "confidence", "probabilities", "threshold")
    ]
    return "\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in shown)


def _listed(name: str, things: Sequence[Any], least: float) -> str:
    if (things and all(isinstance(thing, str) for thing in things)) or name == "labels":
        return ", ".join(map(str, things))
    return str(sum(not isinstance(thing, Mapping) or thing.get("score", 1.0) >= least for thing in things))
