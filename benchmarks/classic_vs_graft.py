"""The classic transfer-learning script against `graft train`: the same data, epochs and starting weights.

A is `classic_script.py` (batches of 4, SGD, fp32). B is `graft train --backbone resnet18 --strategy full` as it comes. C,
with `--train-size`, is B trained at that many pixels: its own recipe says 176 (Touvron et al. 2019, FixRes), so 224 shows
what that brings. Each run is a process of its own; the runs alternate A B C A B C, so that a machine that slows down slows
all of them. A run that was cut off starts again, because only a whole one can be timed; finished ones are kept.

    python benchmarks/classic_vs_graft.py --data DATA/clothing --out benchmarks/results/classic --runs runs/classic \\
        --epochs 10 --repeats 3 --train-size 224
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from arms import HERE, Arm, Page, graft_figures, graft_train, measure, parse, parser_for, publish, ratios, values_of
from measure import Row, environment, middle, verdict
from tiny import noise_folders, random_weights

NAMES = {"A": "A classic script", "B": "B graft train", "C": "C graft train, other training size"}
AT_LEAST = 4.0


def arm_of(name: str, given: argparse.Namespace, weights: Path, seed: int) -> Arm:
    """One arm of a round."""
    size = f"-{given.train_size}px" if name == "C" else ""
    place: Path = given.runs / f"{name}-epochs{given.epochs}-seed{seed}{size}"
    if name == "A":
        words = [sys.executable, HERE / "classic_script.py", "--data", given.data, "--epochs", given.epochs]
        words += ["--weights", weights, "--workers", given.classic_workers, "--seed", seed]
        return Arm(name, place, [*words, "--json", place / "figures.json"], lambda: classic_figures(place))
    settings = {"task": "image-classification", "data": given.data, "backbone": "resnet18", "weights": weights}
    settings |= {"strategy": "full", "epochs": given.epochs, "seed": seed}
    options = [*given.set, *([f"task_options.train_size={given.train_size}"] if name == "C" else [])]
    return Arm(name, place, graft_train(place / "run", settings, options), lambda: graft_figures(place / "run"))


def classic_figures(place: Path) -> Row:
    """What the classic script says of itself, under the names of `arms.graft_figures`."""
    figures = json.loads((place / "figures.json").read_text(encoding="utf-8"))
    row: Row = {name: figures[name] for name in ("fit_seconds", "samples_per_second", "val_accuracy", "best_epoch")}
    epochs = figures["epochs"]
    row["epoch_seconds"] = median(epoch["train_seconds"] + epoch["val_seconds"] for epoch in epochs)
    row["curve"] = [epoch["val_accuracy"] for epoch in epochs]
    row["settings"] = figures["settings"]
    return row


def comparison(rows: Sequence[Row], names: dict[str, str]) -> list[Row]:
    """One line an arm: medians over the rounds with the range; 3 is three times as fast as the first arm."""
    first = rows[0]["arm"]

    def times(arm: str, column: str) -> str:
        return middle(ratios(rows, first, arm, column), 2)

    return [
        {
            "arm": names[arm],
            "seconds an epoch, with validation": middle(values_of(rows, arm, "epoch_seconds"), 2),
            "times as fast (epoch)": times(arm, "epoch_seconds"),
            "whole fit, seconds": middle(values_of(rows, arm, "fit_seconds"), 1),
            "times as fast (fit)": times(arm, "fit_seconds"),
            "whole process, seconds": middle(values_of(rows, arm, "seconds"), 1),
            "times as fast (process)": times(arm, "seconds"),
            "processor seconds": middle(values_of(rows, arm, "processor_seconds"), 0),
            "images a second in training": middle(values_of(rows, arm, "samples_per_second"), 1),
            "best val accuracy": middle(values_of(rows, arm, "val_accuracy")),
            "what differs": values_of(rows, arm, "settings")[0],
        }
        for arm in dict.fromkeys(row["arm"] for row in rows)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--data", type=Path, help="image folders train/, validation/, maybe test/")
    parser.add_argument("--epochs", type=int, default=3, help="of every run (10 or more for a full run)")
    parser.add_argument("--weights", type=Path, help="starting state dict of ResNet-18; by default random from a seed")
    parser.add_argument("--train-size", type=int, help="pixels, adds arm C (224 for a full run)")
    parser.add_argument("--classic-workers", type=int, default=4, help="loader processes of the classic script")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to graft train")
    given = parse(parser, arguments, {"epochs": 1, "classic_workers": 0})
    if given.data is None and given.tiny:
        given.data = noise_folders(given.runs, {"train": 8, "validation": 4, "test": 4})
    if given.data is None:
        parser.error("give --data (or --tiny)")

    where = environment()
    weights = given.weights or random_weights("resnet18", given.runs)
    arms = ("A", "B", "C") if given.train_size else ("A", "B")
    rows = [
        measure(arm_of(arm, given, weights, seed), seed, given.tiny) for seed in range(given.repeats) for arm in arms
    ]
    notes = [
        f"{given.epochs} epochs on {given.data.name}, both from {weights.name}; validation after every epoch. The whole "
        "process includes imports, reading the data and, for graft, its audit, test split, artifact, proofs and report.",
        "Not the same on purpose: each side runs as its user would run it. Also different: graft draws crops of 0.35 to 1 "
        "of the picture (the classic script 0.08 to 1), warms up, clips gradients to norm 1 and starts its head near zero.",
    ]
    question = "full fine-tuning, seconds of {} with validation: the classic script over graft train"
    verdicts = [
        verdict(question.format("an epoch"), ratios(rows, "A", "B", "epoch_seconds"), at_least=AT_LEAST),
        verdict(question.format("the whole fit"), ratios(rows, "A", "B", "fit_seconds")),
    ]
    title, result = "The classic script and graft train", comparison(rows, NAMES)
    publish(given, "classic_vs_graft", title, where, Page(notes=notes, verdicts=verdicts, result=result, rows=rows))


if __name__ == "__main__":
    main()
