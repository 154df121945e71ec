"""A plain detection loop as in torchvision's references against `graft train`: same net, weights, pictures, steps.

A is `detection_loop.py`, float32. B is `graft train --task detection` with its head as torchvision's RetinaNet and the
same optimizer, rate, schedule and mirror; its precision is what it chooses for the machine. C is B in float32: what is
left without it. Each run is a process of its own; the runs alternate A B C A B C, so that a machine that slows down slows
all of them. Finished runs are kept; one that was cut off starts again.

    python benchmarks/detection_loop_vs_graft.py --data DATA/bccd --weights squeezenet1_0.safetensors --epochs 2 \\
        --repeats 3 --out benchmarks/results/detection-loop --runs runs/detection-loop
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from arms import HERE, Arm, Page, graft_figures, graft_train, measure, parse, parser_for, publish, ratios, values_of
from measure import Row, environment, middle, verdict
from tiny import random_weights, voc

NAMES = {"A": "A plain loop, fp32", "B": "B graft train", "C": "C graft train, fp32"}
AT_LEAST = 2.0


def arm_of(name: str, given: argparse.Namespace, seed: int) -> Arm:
    """One arm of a round."""
    place: Path = given.runs / f"{name}-epochs{given.epochs}-size{given.size}-seed{seed}"
    if name == "A":
        words = [sys.executable, HERE / "detection_loop.py", "--data", given.data, "--weights", given.weights]
        words += ["--epochs", given.epochs, "--size", given.size, "--seed", seed, "--json", place / "figures.json"]
        return Arm(name, place, words, lambda: loop_figures(place))
    settings = {"task": "detection", "data": given.data, "strategy": "full", "head": "retinanet", "seed": seed}
    settings |= {"backbone": "squeezenet1_0", "weights": given.weights, "epochs": given.epochs}
    settings |= {"batch-size": 8, "lr": 2e-4}
    options = ["weight_decay=0.01", "warmup=0.1", "grad_clip=0", "workers=0", "task_options.augment=none"]
    options += ["task_options.flip=horizontal", f"task_options.size={given.size}"]
    options += [f"head_options.{option}" for option in ("width=256", "depth=4", "norm=none", "box_loss=l1")]
    options += ["precision=fp32"] if name == "C" else []
    return Arm(name, place, graft_train(place / "run", settings, options), lambda: graft_figures(place / "run"))


def loop_figures(place: Path) -> Row:
    """What the plain loop says of itself, under the names of `arms.graft_figures`."""
    epochs = json.loads((place / "figures.json").read_text(encoding="utf-8"))["epochs"]
    return {
        "samples_per_second": len(epochs) / sum(1 / epoch["samples_per_second"] for epoch in epochs),
        "losses": [epoch["loss"] for epoch in epochs],
        "precision": "fp32",
    }


def comparison(rows: Sequence[Row]) -> list[Row]:
    """One line an arm: medians over the rounds with the range; 2 is twice as many pictures a second as the plain loop."""
    return [
        {
            "arm": NAMES[arm],
            "pictures a second in training": middle(values_of(rows, arm, "samples_per_second"), 2),
            "times as fast": middle(ratios(rows, arm, "A", "samples_per_second"), 2),
            "training loss, last epoch": middle([losses[-1] for losses in values_of(rows, arm, "losses")], 4),
            "whole process, seconds": middle(values_of(rows, arm, "seconds"), 1),
            "precision": values_of(rows, arm, "precision")[0],
        }
        for arm in dict.fromkeys(row["arm"] for row in rows)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--data", type=Path, help="a Pascal VOC folder with ImageSets/Main")
    parser.add_argument("--weights", type=Path, help="SqueezeNet's, under torchvision's key names; else random ones")
    parser.add_argument("--epochs", type=int, default=2, help="of every run")
    parser.add_argument("--size", type=int, default=320, help="pixels, the shorter side")
    parser.add_argument("--arms", nargs="+", choices=list(NAMES), default=list(NAMES))
    given = parse(parser, arguments, {"epochs": 1, "size": 64, "arms": ["A", "B"]})
    if given.data is None and given.tiny:
        given.data = voc(given.runs, {"train": 12, "val": 4, "test": 4})
    if given.data is None:
        parser.error("give --data (or --tiny)")

    where = environment()
    given.weights = given.weights or random_weights("squeezenet1_0", given.runs)
    rows = [measure(arm_of(arm, given, seed), seed, given.tiny) for seed in range(given.repeats) for arm in given.arms]
    notes = [
        f"{given.epochs} epochs on {given.data.name}, shorter side {given.size} pixels, batches of 8, AdamW at 2e-4 with "
        "warm-up and cosine, one process, no loader processes. Validation is in neither side's pictures a second. The whole "
        "process of graft holds its audit, an evaluation after every epoch, the test split, artifact, proofs and report.",
    ]
    question = "detection, pictures a second in training: graft train over a plain fp32 loop"
    verdicts = []
    if {"A", "B"} <= set(given.arms):
        verdicts = [verdict(question, ratios(rows, "B", "A", "samples_per_second"), at_least=AT_LEAST)]
    title, result = "A plain detection loop and graft train", comparison(rows)
    publish(given, "detection_loop", title, where, Page(notes=notes, verdicts=verdicts, result=result, rows=rows))


if __name__ == "__main__":
    main()
