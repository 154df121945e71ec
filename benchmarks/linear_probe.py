"""A linear probe: a plain frozen loop against `graft train --strategy linear-probe`, and that against itself a second time.

A is `classic_script.py --frozen`: the tutorial's network as a fixed feature extractor, batches of 32, fp32, every picture
through the frozen network in every epoch. B is `graft train --strategy linear-probe` as it comes, with an empty cache. C is
B once more with another seed, beside the cache that B has left: what a second run, another seed or another head costs.
Each run is a process of its own; the runs alternate A B C A B C, and every B starts with an empty cache of its own.

    python benchmarks/linear_probe.py --data DATA/clothing --rows 5000 --epochs 10 --repeats 3 \\
        --out benchmarks/results/linear-probe --runs runs/linear-probe
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from arms import HERE, Arm, Page, graft_figures, graft_train, measure, parse, parser_for, publish, ratios
from classic_vs_graft import classic_figures, comparison
from measure import Row, environment, verdict
from pictures import add_flags, pictures_for
from tiny import random_weights

NAMES = {
    "A": "A plain frozen loop, fp32",
    "B": "B graft train, cold cache",
    "C": "C graft train once more, warm cache",
}
AT_LEAST, SECOND_AT_LEAST = 15.0, 5.0


def arm_of(name: str, given: argparse.Namespace, weights: Path, seed: int) -> Arm:
    """One arm of a round; C uses the cache of the B before it, and a seed of its own."""
    facts = f"rows{given.rows}-epochs{given.epochs}-seed{seed}"
    place: Path = given.runs / f"{name}-{facts}"
    if name == "A":
        words = [sys.executable, HERE / "classic_script.py", "--data", given.data, "--epochs", given.epochs]
        words += ["--weights", weights, "--frozen", "--batch-size", 32, "--workers", given.workers, "--seed", seed]
        return Arm(name, place, [*words, "--json", place / "figures.json"], lambda: classic_figures(place))
    cold = name == "B"
    settings = {"task": "image-classification", "data": given.data, "backbone": "resnet18", "weights": weights}
    settings |= {"strategy": "linear-probe", "epochs": given.epochs, "seed": seed if cold else 1000 + seed}
    settings |= {"views": given.views}
    command = graft_train(place / "run", settings, given.set)
    cache = given.runs / f"cache-{facts}"  # a folder of the round, because two arms share it
    shared = {"GRAFTWORK_CACHE": str(cache)}
    return Arm(name, place, command, lambda: graft_figures(place / "run"), shared, [cache] if cold else [])


def verdicts_of(rows: Sequence[Row], epochs: int) -> list[Row]:
    """Whole processes are judged, since that is what a user waits for; the fits alone stand beside."""
    found = []
    for column, part in (("seconds", "whole process"), ("fit_seconds", "fit with validation alone")):
        judged = column == "seconds"
        first = f"linear probe, {epochs} epochs, {part}: a plain frozen fp32 loop over graft train, cold cache"
        second = f"second linear probe on the same backbone and data, {part}: the first over the second"
        found.append(verdict(first, ratios(rows, "A", "B", column), at_least=AT_LEAST if judged else None))
        found.append(verdict(second, ratios(rows, "B", "C", column), at_least=SECOND_AT_LEAST if judged else None))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_for(__doc__)
    add_flags(parser, rows=5000)
    parser.add_argument("--epochs", type=int, default=10, help="of every run")
    parser.add_argument("--weights", type=Path, help="state dict of ResNet-18; by default random: speed is the same")
    parser.add_argument("--views", type=int, help="fixed views a row; by default what graft's recipes say")
    parser.add_argument("--workers", type=int, default=2, help="loader processes of the plain loop")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to graft train")
    given = parse(parser, arguments, {"rows": 12, "epochs": 2, "workers": 0, "views": 1})
    given.data = pictures_for(given, parser)

    where = environment()
    weights = given.weights or random_weights("resnet18", given.runs)
    rows = [
        measure(arm_of(arm, given, weights, seed), seed, given.tiny) for seed in range(given.repeats) for arm in "ABC"
    ]
    notes = [
        f"ResNet-18 at 224 pixels from {weights.name}, {given.rows:,} JPEG pictures for training and a tenth of that for "
        f"validation, {given.epochs} epochs. The plain loop draws new crops in every epoch and runs all of them through the "
        "frozen network; what graft draws instead is in its plan (fixed views). The whole process includes imports, reading, "
        "graft's audit, the filling of its cache, test split, artifact, proofs and report.",
    ]
    title, result = "Linear probe: a plain frozen loop and graft train", comparison(rows, NAMES)
    verdicts = verdicts_of(rows, given.epochs)
    publish(given, "linear_probe", title, where, Page(notes=notes, verdicts=verdicts, result=result, rows=rows))


if __name__ == "__main__":
    main()
