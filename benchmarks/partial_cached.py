"""The prefix cache on one plan: `graft train --strategy partial:1` with it and without it, for several backbones.

A is the plan with `--set cache=off`: the frozen stages run in every epoch. B keeps what they make, with an empty cache at
the start; both sides have the same fixed views. Each run is a process of its own; the runs of a case alternate A B A B.
Weights that come out are compared as well: the cache is worth nothing unless they are the same. What it brings hangs on
the share of a step that the frozen stages take, so the cases differ in that.

    python benchmarks/partial_cached.py --data DATA/clothing --texts DATA/sst2 --rows 2000 --epochs 10 --repeats 3 \\
        --out benchmarks/results/partial-cached --runs runs/partial-cached
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from arms import Arm, Page, graft_figures, graft_train, measure, parse, parser_for, publish, ratios, values_of
from measure import Row, environment, middle, verdict
from pictures import add_flags, pictures_for
from text_vs_trainer import prepare
from tiny import random_weights, reviews

TEXT, PICTURES = "minilm-l6", ("resnet18", "resnet50")
AT_LEAST = 2.0


def plan_of(case: str, given: argparse.Namespace) -> tuple[Row, list[str]]:
    """What `graft train` is told of a case: flags, and values for `--set`."""
    if case == TEXT:
        backbone = {"backbone": "graftext-s", "weights": "none"} if given.tiny else {"backbone": case}
        return {"task": "text-classification", "data": given.texts, **backbone}, []
    flags = {"task": "image-classification", "data": given.data, "backbone": case, "views": given.views}
    flags["weights"] = random_weights(case, given.runs)
    return flags, ["backbone_options.image_size=64"] if given.tiny else []


def arm_of(name: str, case: str, given: argparse.Namespace, seed: int) -> Arm:
    """One arm of a round."""
    strategy = given.strategy.replace(":", "")
    place: Path = given.runs / f"{name}-{case}-{strategy}-rows{given.rows}-epochs{given.epochs}-seed{seed}"
    flags, options = plan_of(case, given)
    flags |= {"strategy": given.strategy, "epochs": given.epochs, "seed": seed}
    options += [*given.set, *(["cache=off"] if name == "A" else [])]
    cache = place.with_name(f"cache-{place.name}")
    command = graft_train(place / "run", flags, options)
    return Arm(name, place, command, lambda: figures(place / "run"), {"GRAFTWORK_CACHE": str(cache)}, [cache])


def figures(run: Path) -> Row:
    """A run's figures, with a digest of the weights that it ended with, and what it kept."""
    digest = hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
    phases = json.loads((run / "plan.json").read_text(encoding="utf-8"))["phases"]
    kept = max(phase["rows"]["bytes"] if phase["rows"]["kept"] else 0 for phase in phases)
    return {**graft_figures(run), "kept_mb": kept / 1e6, "weights_sha256": digest[:16]}


def summed_up(case: str, rows: Sequence[Row]) -> Row:
    """A case in one line of the table: medians over the rounds with the range."""
    line: Row = {"backbone": case}
    columns = {"fit_seconds": "whole fit", "epoch_seconds": "median epoch", "seconds": "whole process"}
    for column, name in columns.items():
        line[f"{name}, seconds: cache=off"] = middle(values_of(rows, "A", column), 1)
        line[f"{name}, seconds: cached"] = middle(values_of(rows, "B", column), 1)
        line[f"{name}: times as fast"] = middle(ratios(rows, "A", "B", column), 2)
    filling = [row["fit_seconds"] - len(row["losses"]) * row["epoch_seconds"] for row in rows if row["arm"] == "B"]
    line["filling (cached fit less its epochs), seconds"] = middle(filling, 1)
    line["kept, MB"] = middle(values_of(rows, "B", "kept_mb"), 1)
    line["same weights"] = "yes" if same_weights(rows) else "**no**"
    line["settings"] = values_of(rows, "B", "settings")[0]
    return line


def same_weights(rows: Sequence[Row]) -> bool:
    """Whether the two sides end the same, bit for bit, in every round."""
    return values_of(rows, "A", "weights_sha256") == values_of(rows, "B", "weights_sha256")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_for(__doc__)
    add_flags(parser, rows=2000)
    parser.add_argument("--texts", type=Path, help=f"folder with train.tsv, validation.tsv, maybe test.tsv ({TEXT})")
    parser.add_argument("--cases", nargs="+", choices=[*PICTURES, TEXT], default=[*PICTURES, TEXT], metavar="NAME")
    parser.add_argument("--epochs", type=int, default=10, help="of every run")
    parser.add_argument("--strategy", default="partial:1")
    parser.add_argument("--views", type=int, help="fixed views of a picture; by default what the recipe says")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to both sides")
    given = parse(parser, arguments, {"rows": 12, "epochs": 2, "views": 1})
    if {*PICTURES} & {*given.cases}:
        given.data = pictures_for(given, parser)
    if TEXT in given.cases:
        if given.tiny:
            given.texts = given.texts or reviews(given.runs, {"train": given.rows, "validation": 8})
        if given.texts is None:
            parser.error("give --texts, or --cases without the text encoder (or --tiny)")
        given.texts = prepare(given.texts, given.rows, given.runs / f"texts-{given.rows}")

    where = environment()
    rows: list[Row] = []
    verdicts, result = [], []
    for case in given.cases:
        rounds = range(given.repeats)
        mine = [
            {"case": case, **measure(arm_of(arm, case, given, seed), seed, given.tiny)}
            for seed in rounds
            for arm in "AB"
        ]
        sides = "whole fit: cache=off over cached (cold at the start)"
        found = ratios(mine, "A", "B", "fit_seconds")
        verdicts.append(verdict(f"{given.strategy}, {given.epochs} epochs, {case}, {sides}", found, at_least=AT_LEAST))
        result.append(summed_up(case, mine))
        rows += mine
    same = all(same_weights([row for row in rows if row["case"] == case]) for case in given.cases)
    notes = [
        f"{given.strategy}, {given.rows:,} rows for training, {given.epochs} epochs; for validation a tenth of that in "
        "JPEG pictures, of sentences the whole split. The fit includes filling the cache.",
        "Both sides end with the same weights, bit for bit."
        if same
        else "**Not all cases end with the same weights.**",
    ]
    title, more = "One plan with and without the prefix cache", {"same_weights": same}
    publish(
        given, "partial_cached", title, where, Page(notes=notes, verdicts=verdicts, result=result, rows=rows, data=more)
    )


if __name__ == "__main__":
    main()
