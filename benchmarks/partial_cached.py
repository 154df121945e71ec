"""The prefix cache on one plan: `graft train --strategy partial:1` with it and without it, the same views on both sides.

A is the plan with `--set cache=off`: the frozen stages run in every epoch. B keeps what they make, with an empty cache at
the start. Each run is a process of its own; the runs alternate A B A B. Weights that come out are compared as well: the
cache is worth nothing unless they are the same.

    python benchmarks/partial_cached.py --data DATA/clothing --rows 2000 --epochs 10 --repeats 3 \\
        --out benchmarks/results/partial-cached --runs runs/partial-cached
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

from arms import Arm, graft_figures, graft_train, measure, parse, parser_for, publish, ratios, values_of
from classic_vs_graft import comparison
from measure import Row, environment, verdict
from pictures import add_flags, pictures_for
from tiny import random_weights

NAMES = {"A": "A cache=off", "B": "B cached, cold at the start"}
AT_LEAST = 2.0


def arm_of(name: str, given: argparse.Namespace, weights: Path, seed: int) -> Arm:
    """One arm of a round."""
    strategy = given.strategy.replace(":", "")
    place: Path = given.runs / f"{name}-{strategy}-rows{given.rows}-epochs{given.epochs}-seed{seed}"
    settings = {"task": "image-classification", "data": given.data, "backbone": given.backbone, "weights": weights}
    settings |= {"strategy": given.strategy, "epochs": given.epochs, "seed": seed, "views": given.views}
    command = graft_train(place / "run", settings, [*given.set, *(["cache=off"] if name == "A" else [])])
    cache = place.with_name(f"cache-{place.name}")
    return Arm(name, place, command, lambda: figures(place / "run"), {"GRAFTWORK_CACHE": str(cache)}, [cache])


def figures(run: Path) -> Row:
    """A run's figures, with a digest of the weights that it ended with."""
    digest = hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
    return {**graft_figures(run), "weights_sha256": digest[:16]}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_for(__doc__)
    add_flags(parser, rows=2000)
    parser.add_argument("--epochs", type=int, default=10, help="of every run")
    parser.add_argument("--strategy", default="partial:1")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--views", type=int, help="fixed views a row, on both sides; by default what the recipe says")
    parser.add_argument("--weights", help="as for graft train; by default random ones of ResNet-18: speed is the same")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to both sides")
    given = parse(parser, arguments, {"rows": 12, "epochs": 2, "views": 1})
    given.data = pictures_for(given, parser)

    where = environment()
    weights = given.weights or random_weights("resnet18", given.runs)
    rows = [measure(arm_of(arm, given, weights, seed), seed) for seed in range(given.repeats) for arm in "AB"]
    same = values_of(rows, "A", "weights_sha256") == values_of(rows, "B", "weights_sha256")
    notes = [
        f"{given.backbone}, {given.strategy}, {given.rows:,} JPEG pictures for training and a tenth of that for validation, "
        f"{given.epochs} epochs. The fit includes filling the cache.",
        "Both sides end with the same weights, bit for bit."
        if same
        else "**The two sides do not end with the same weights.**",
    ]
    plan, sides = f"{given.strategy}, {given.epochs} epochs", "cache=off over cached (cold at the start)"
    verdicts = [
        verdict(f"{plan}, whole fit: {sides}", ratios(rows, "A", "B", "fit_seconds"), at_least=AT_LEAST),
        verdict(f"{plan}, seconds of the median epoch: {sides}", ratios(rows, "A", "B", "epoch_seconds")),
        verdict(f"{plan}, whole process: {sides}", ratios(rows, "A", "B", "seconds")),
    ]
    title, result = "One plan with and without the prefix cache", comparison(rows, NAMES)
    more = {"same_weights": same}
    publish(given, "partial_cached", title, where, notes=notes, verdicts=verdicts, result=result, rows=rows, data=more)


if __name__ == "__main__":
    main()
