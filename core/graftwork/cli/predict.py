"""`graft predict`: a finished run's model on files, folders, texts, or lines from stdin."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from graftwork.cli.options import Device, Json
from graftwork.console import number, out, out_json
from graftwork.errors import DataError
from graftwork.machine.garbage import importing


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Files, folders or text; - reads lines.")],
    device: Device = None,
    draw: Annotated[bool, typer.Option("--draw", help="Write each input with its prediction drawn on it.")] = False,
    folder: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where files (masks, drawings) are written.")
    ] = Path("predictions"),
    json: Json = False,
) -> None:
    """Predict: one line an input (input, label, confidence), or one JSON list; masks and drawings as files."""
    from graftwork.catalogue import load_catalogue
    from graftwork.catalogue.references import read_model_card

    read_model_card(run)
    words = list(expand(inputs, sys.stdin))
    if not words:
        raise DataError("there is nothing to predict: stdin held no lines")
    catalogue = load_catalogue()

    with importing():
        from graftwork.runs.predict import predict_with, write_files

    found = predict_with(run, words, catalogue, device=device or "auto", draw=draw)
    predictions: Iterator[dict[str, Any]] = (write_files(prediction, folder) for prediction in found)
    if json:
        out_json(list(predictions))
        return
    for prediction in predictions:
        out(line(prediction))


def expand(inputs: Sequence[str], stdin: Iterable[str]) -> Iterator[str]:
    """The inputs, `-` replaced by the lines of stdin that are not empty."""
    for word in inputs:
        if word == "-":
            yield from (text for text in (row.rstrip("\r\n") for row in stdin) if text.strip())
        else:
            yield word


def line(prediction: Mapping[str, Any]) -> str:
    """One prediction as tab-separated text: input, label, confidence; other fields follow as name=value, of lists of
    objects the number of them."""
    shown = [str(prediction.get("input", ""))]
    if "label" in prediction:
        shown.append(str(prediction["label"]))
    if "confidence" in prediction:
        shown.append(f"{prediction['confidence']:.4f}")
    shown += [
        f"{name}={len(value) if isinstance(value, list) else number(value)}"
        for name, value in prediction.items()
        if name not in ("input", "label", "confidence", "probabilities")
    ]
    return "\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in shown)
