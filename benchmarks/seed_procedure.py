"""The three-step procedure on classes that the source never saw: train on six, transfer to four with 20 images a class.

1. Source: GraftNet-S from random weights on six CIFAR-10 classes, by `graft train`.
2. Target: the other four classes, 20 labelled images a class; `--backbone run:SOURCE`, with each strategy.
3. The same network on the same 80 images from random weights. All are measured on the four classes' test rows.

Target classes are cat, deer, horse and truck. Two of them have a close relative among the source classes (cat: dog,
truck: automobile), two have not (deer and horse are each other's), so this is neither the easiest transfer nor the hardest.
Each seed draws other images, starts other weights and shuffles anew; the source is trained once. The best epoch is
chosen on as many labelled rows again (`--labels` a class), not on a validation split that few labels would not allow.

    python benchmarks/seed_procedure.py --data DATA/cifar10 --out benchmarks/results/seed --runs runs/seed \\
        --source-epochs 12 --source-limit 0 --epochs 40 --seeds 3
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import Row, environment, say, spread, table, this_command, train, write_results

if TYPE_CHECKING:
    from datasets import Dataset

TARGET = ("cat", "deer", "horse", "truck")
STRATEGIES = ("full", "lp-ft", "linear-probe")
POOL = 500  # rows a class from which each seed draws its labelled images


def write_subsets(data: Path, out: Path, target: list[str], labels: int) -> dict[str, Path]:
    """The source classes and the target classes as folders of Parquet files; those that are there already stay."""
    from datasets import Dataset

    paths = {"source": out / "source", "target": out / "target"}
    if all((path / "test.parquet").is_file() for path in paths.values()):
        return paths
    splits = {split: Dataset.from_parquet(str(data / f"{split}.parquet")) for split in ("train", "test")}
    names = splits["train"].features["label"].names
    if not 1 < len(set(target)) < len(names) - 1 or set(target) - set(names):
        raise SystemExit(f"--target takes at least two of {', '.join(names)}, and leaves two")
    others = [name for name in names if name not in target]
    for kind, classes in (("source", others), ("target", target)):
        paths[kind].mkdir(parents=True, exist_ok=True)
        rows = {split: _of_classes(splits[split], classes) for split in splits}
        if kind == "target":
            # Test rows are written last: they say that the folder is whole.
            ranks = _rank_in_class(rows["train"])
            _write(rows["train"], [i for i, rank in enumerate(ranks) if rank < labels], paths[kind], "validation")
            _write(
                rows["train"], [i for i, rank in enumerate(ranks) if 0 <= rank - labels < POOL], paths[kind], "train"
            )
        else:
            _write(rows["train"], range(len(rows["train"])), paths[kind], "train")
        _write(rows["test"], range(len(rows["test"])), paths[kind], "test")
    return paths


def _of_classes(rows: Dataset, classes: list[str]) -> Dataset:
    """The rows of these classes, labelled by name."""
    from datasets import Value

    names = rows.features["label"].names
    wanted = {names.index(name) for name in classes}
    kept = rows.select([i for i, label in enumerate(rows["label"]) if label in wanted])
    text = [names[label] for label in kept["label"]]
    return kept.remove_columns("label").add_column("label", text, feature=Value("string"))


def _rank_in_class(rows: Dataset) -> list[int]:
    """For every row how many of its class stand before it."""
    seen: dict[str, int] = {}
    ranks = []
    for label in rows["label"]:
        ranks.append(seen.get(label, 0))
        seen[label] = ranks[-1] + 1
    return ranks


def _write(rows: Dataset, numbers: Any, folder: Path, split: str) -> None:
    temporary = folder / f".{split}.tmp"
    rows.select(numbers).to_parquet(str(temporary))
    temporary.rename(folder / f"{split}.parquet")


def train_source(given: argparse.Namespace, data: Path, runs: Path) -> tuple[Path, Row]:
    """The source task; settings as those of the model that ships with graftwork, unless flags say otherwise."""
    settings = {
        "task": "image-classification",
        "data": data,
        "backbone": given.backbone,
        "weights": "none",
        "strategy": "scratch",
        "epochs": given.source_epochs,
        "batch-size": 128,
        "lr": given.source_lr,
        "weight-decay": 0.05,
        "limit-train": given.source_limit or None,
        "seed": 0,
    }
    where = runs / "source"
    return where, train(where, settings, ["head_options.label_smoothing=0.1"])


def run_target(given: argparse.Namespace, data: Path, source: Path, runs: Path) -> list[Row]:
    """Transfer with every strategy and training from scratch, seed by seed."""
    rows: list[Row] = []
    for seed in range(given.seeds):
        for strategy in [*given.strategies, "scratch"]:
            scratch = strategy == "scratch"
            settings = {
                "task": "image-classification",
                "data": data,
                "backbone": given.backbone if scratch else f"run:{source}",
                "weights": "none" if scratch else None,
                "strategy": strategy,
                "epochs": given.epochs,
                "batch-size": given.batch_size,
                "limit-train": given.labels * len(given.target),
                "seed": seed,
            }
            summary = train(runs / f"{strategy}-seed{seed}", settings)
            rows.append(
                {
                    "start": "random" if scratch else "source run",
                    "strategy": strategy,
                    "seed": seed,
                    "test accuracy": summary["test"]["accuracy"],
                    "test macro-F1": summary["test"]["macro_f1"],
                    "val accuracy": summary["val"]["accuracy"],
                    "best epoch": summary["best_epoch"],
                    "train rows": summary["train_rows"],
                    "test rows": summary["test_rows"],
                    "fit seconds": summary["fit_seconds"],
                }
            )
            say(f"{strategy}, seed {seed}: test accuracy {rows[-1]['test accuracy']:.3f}")
    return rows


def means(rows: list[Row]) -> list[Row]:
    """One line a strategy, with the gain over scratch: paired by seed, so on the very same labelled images."""
    scratch = {row["seed"]: row["test accuracy"] for row in rows if row["strategy"] == "scratch"}
    lines = []
    for strategy in dict.fromkeys(row["strategy"] for row in rows):
        mine = [row for row in rows if row["strategy"] == strategy]
        gains = [row["test accuracy"] - scratch[row["seed"]] for row in mine]
        lines.append(
            {
                "start": mine[0]["start"],
                "strategy": strategy,
                "seeds": len(mine),
                "test accuracy": spread([row["test accuracy"] for row in mine]),
                "over scratch": "-" if strategy == "scratch" else spread(gains),
                "fit seconds": spread([row["fit seconds"] for row in mine], 1),
            }
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with CIFAR-10's train.parquet, test.parquet")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--runs", type=Path, help="folder of subsets and run directories, by default OUT/runs")
    parser.add_argument("--target", nargs="+", default=list(TARGET), help="target classes; the rest is the source")
    parser.add_argument("--labels", type=int, default=20, help="labelled images a target class")
    parser.add_argument("--backbone", default="graftnet-s")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--source-epochs", type=int, default=1, help="(12 for a full run)")
    parser.add_argument("--source-limit", type=int, default=1200, help="training rows; 0 for all, as in a full run")
    parser.add_argument("--source-lr", type=float, default=0.003)
    parser.add_argument("--epochs", type=int, default=2, help="of every target run (40 for a full run)")
    parser.add_argument("--batch-size", type=int, default=20, help="of the target runs")
    parser.add_argument("--seeds", type=int, default=1, help="how many: 0, 1, … (3 for a full run)")
    given = parser.parse_args()

    where = environment()
    runs = given.runs or given.out / "runs"
    paths = write_subsets(given.data, runs / "data", given.target, given.labels)
    source, source_summary = train_source(given, paths["source"], runs)
    rows = run_target(given, paths["target"], source, runs)
    accuracy = source_summary["test"]["accuracy"]
    about = (
        f"Source: {given.backbone}, {source_summary['train_rows']:,} rows, {source_summary['epochs']} epochs, "
        f"test accuracy {accuracy:.3f} over the other {10 - len(given.target)} classes, "
        f"{source_summary['fit_seconds']:.0f} s.\n\nTarget: {', '.join(given.target)}; {given.labels} labelled images a "
        f"class to train on and {given.labels} to choose the epoch; {rows[0]['test rows']:,} test rows. "
        f"{given.epochs} epochs, batches of {given.batch_size}."
    )
    sections = {
        "Mean and range over the seeds": f"{about}\n\n{table(means(rows))}",
        "Every run": table(rows),
        "Command": f"    {this_command()}",
    }
    kept = ("test", "val", "best_epoch", "epochs", "fit_seconds", "train_rows", "precision", "versions")
    data = {
        "source": {name: source_summary[name] for name in kept},
        "rows": rows,
        "environment": where,
        "command": this_command(),
    }
    print(write_results(given.out, "seed_procedure", "Seed procedure: six classes to four", sections, data))


if __name__ == "__main__":
    main()
