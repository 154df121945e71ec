"""Do memory and time grow with the data? A command on rows × 1, × 10, × 100: a table of texts and a folder of pictures.

    python benchmarks/growth.py --out benchmarks/results/growth --runs runs/growth
    python benchmarks/growth.py --kinds texts --commands inspect --rows 10000 1000000 --characters 3000 --out …

Each run is a process of its own with an empty cache, on data of its own, made before and removed after. What is judged is
`held_mb`, the memory that the whole process tree holds for itself; `whole_mb` counts the pages of mapped files too, which
the system takes back when it needs them (`memory.py` says how the two are told apart). Linux only.
"""

from __future__ import annotations

import argparse
import csv
import random
import shutil
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from arms import Page, graft_train, parse, parser_for, publish
from measure import Row, environment, say, verdict
from memory import watch
from tiny import noise_folders

AT_MOST = 1.1
TASKS = {"texts": "text-classification", "pictures": "image-classification"}
NETS = {"texts": "graftext-s", "pictures": "graftnet-s"}
_CLASSES = ("billing", "delivery", "praise", "question")


def generate(kind: str, folder: Path, rows: int, given: argparse.Namespace) -> Path:
    """Data of so many rows, all splits together."""
    if kind == "texts":
        folder.mkdir(parents=True, exist_ok=True)
        return messages(folder / "messages.csv", rows, given.characters)
    held_out = max(2, rows // 10)
    splits = {"train": rows - 2 * held_out, "validation": held_out, "test": held_out}
    return noise_folders(folder, splits, given.pixels, len(_CLASSES))


def messages(file: Path, rows: int, characters: int) -> Path:
    """A CSV of text, label and an id; every row of different sentences in quotes, a tenth with a newline or a quote."""
    chance = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyzäéß"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 10))) for _ in range(20_000)]
    ends = [". ", ". ", "! ", '" ', ".\n", ", "]
    sentences = [" ".join(chance.choices(words, k=14)) + chance.choice(ends) for _ in range(20_000)]
    each = max(1, characters // 97)
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["id", "text", "label"])
        for row in range(rows):
            writer.writerow([row, "".join(chance.choices(sentences, k=each)), _CLASSES[row % len(_CLASSES)]])
    return file


def command_of(kind: str, name: str, data: Path, out: Path, given: argparse.Namespace) -> list[object]:
    """`inspect`, or the name of a strategy to train with."""
    if name == "inspect":
        return [sys.executable, "-m", "graftwork", "inspect", "--task", TASKS[kind], "--data", data, "--json"]
    settings = {"task": TASKS[kind], "data": data, "backbone": NETS[kind], "weights": "none", "strategy": name}
    return graft_train(out, settings | {"epochs": given.epochs}, given.set)


def measure(kind: str, name: str, rows: int, given: argparse.Namespace) -> Row:
    """One command on one number of rows."""
    place: Path = given.runs / f"{kind}-{name}-{rows}".replace(":", "")
    shutil.rmtree(place, ignore_errors=True)
    data = generate(kind, place / "data", rows, given)
    command = command_of(kind, name, data, place / "run", given)
    found = watch(command, {"GRAFTWORK_CACHE": str(place / "cache")}, place / "log.txt")
    size = sum(file.stat().st_size for file in (place / "data").rglob("*") if file.is_file())
    shutil.rmtree(place)
    row: Row = {"kind": kind, "command": f"train, {name}" if name != "inspect" else name, "rows": rows}
    row |= {"data_mb": round(size / 2**20, 1), **found}
    say(f"{kind}, {name}, {rows:,} rows: {row['held_mb']} MB held, {row['whole_mb']} MB in all, {row['seconds']:.1f} s")
    return row


def growth(rows: Sequence[Row]) -> list[Row]:
    """One line a step from one number of rows to the next, by kind and command."""
    lines = []
    for before, after in pairwise(rows):
        if (before["kind"], before["command"]) != (after["kind"], after["command"]):
            continue
        lines.append(
            {
                "data": before["kind"],
                "command": before["command"],
                "rows": f"{before['rows']:,} to {after['rows']:,} (× {after['rows'] / before['rows']:g})",
                "memory held, ×": after["held_mb"] / max(1, before["held_mb"]),
                "with mapped files, ×": after["whole_mb"] / max(1, before["whole_mb"]),
                "seconds, ×": after["seconds"] / before["seconds"],
            }
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--kinds", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument(
        "--commands",
        nargs="+",
        default=["inspect", "full", "linear-probe"],
        help="inspect, or strategies to train with",
    )
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="rows of each run, growing"
    )
    parser.add_argument("--characters", type=int, default=300, help="of text in a row, about")
    parser.add_argument("--pixels", type=int, default=32, help="both sides of a picture")
    parser.add_argument("--epochs", type=int, default=1, help="of every training")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to graft train")
    small = {"rows": [40, 400], "commands": ["inspect"]}
    given = parse(parser, arguments, small)
    if not Path("/proc/self/smaps_rollup").is_file():
        raise SystemExit("this system has no /proc/PID/smaps_rollup: memory is measured on Linux only")

    where = environment()
    rows = [
        measure(kind, name, count, given) for kind in given.kinds for name in given.commands for count in given.rows
    ]
    result = growth(rows)
    verdicts = [
        verdict(
            f"rows {line['rows']}, peak memory held: {line['command']} on {line['data']}",
            [line["memory held, ×"]],
            at_most=AT_MOST,
        )
        for line in result
    ]
    notes = [
        f"Texts of about {given.characters} characters for {NETS['texts']}, pictures of {given.pixels} pixels for "
        f"{NETS['pictures']}, {given.epochs} epochs where there is training. Memory is the peak over the whole process tree, "
        "loader processes included, looked at fifty times a second. Held: anonymous and shared memory (Pss_Anon and "
        "Pss_Shmem of /proc/PID/smaps_rollup). With mapped files: Pss, to which pages of mapped files add what the system "
        "can take back. Shared pages count once."
    ]
    title = "Memory and time as the data grows"
    publish(given, "growth", title, where, Page(notes=notes, verdicts=verdicts, result=result, rows=rows))


if __name__ == "__main__":
    main()
