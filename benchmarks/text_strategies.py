"""How much of a text encoder to fine-tune, on how many labels: strategies × label budgets × seeds on one data set.

One backbone and the same epochs for all (a strategy may have its own with `--epochs-of scratch=10`); learning rates are
the recipes. Finished runs are skipped and a run that was cut off goes on.

    python benchmarks/text_strategies.py --data DATA/sst2 --seeds 3 --out benchmarks/results/sst2 --runs runs/sst2
    python benchmarks/text_strategies.py --data DATA/banking77 --per-class 10 0 --classes 77 --strategies full \\
        --seeds 3 --out benchmarks/results/banking77 --runs runs/banking77
"""

from __future__ import annotations

import argparse
from pathlib import Path

from measure import Row, environment, say, spread, table, this_command, train, write_results

STRATEGIES = ("full", "linear-probe", "lora", "bitfit", "lp-ft", "layerwise", "scratch")
MEASURED = ("accuracy", "macro_f1", "mcc")


def run_all(given: argparse.Namespace) -> list[Row]:
    """All runs, seed by seed, so that an early stop still compares all strategies."""
    epochs = dict(word.split("=") for word in given.epochs_of)
    rows: list[Row] = []
    for seed in range(given.seeds):
        for per_class in given.per_class:
            for strategy in given.strategies:
                settings = {
                    "task": "text-classification",
                    "data": given.data,
                    "backbone": given.backbone,
                    "weights": given.weights,
                    "strategy": strategy,
                    "epochs": epochs.get(strategy, given.epochs),
                    "batch-size": given.batch_size,
                    "limit-train": per_class * given.classes if per_class else given.limit_train,
                    "seed": seed,
                }
                place = (given.runs or given.out / "runs") / f"{strategy}-{per_class or 'all'}-seed{seed}"
                summary = train(place, settings, given.set)
                row: Row = {"strategy": strategy, "labels a class": per_class or "all", "seed": seed}
                for split in ("val", "test"):
                    row |= {f"{split} {name}": summary[split].get(name) for name in MEASURED}
                row |= {
                    "best epoch": summary["best_epoch"],
                    "trained": summary["parameters"]["trained"],
                    "fit seconds": summary["fit_seconds"],
                    "rows a second": summary["samples_per_second"],
                    "precision": summary["precision"],
                }
                rows.append(row)
                say(
                    f"{strategy}, {per_class or 'all'} labels a class, seed {seed}: {row['val accuracy']:.4f} on validation"
                )
    return rows


def means(rows: list[Row]) -> list[Row]:
    """One line a strategy and label budget: mean and range over the seeds."""
    lines = []
    for key in dict.fromkeys((row["strategy"], row["labels a class"]) for row in rows):
        mine = [row for row in rows if (row["strategy"], row["labels a class"]) == key]
        line: Row = {"strategy": key[0], "labels a class": key[1], "seeds": len(mine)}
        for column in ("val accuracy", "test accuracy", "test macro_f1", "test mcc"):
            line[column] = spread([row[column] for row in mine if row[column] is not None])
        line["trained"] = f"{mine[0]['trained']:,}"
        line["fit seconds"] = spread([row["fit seconds"] for row in mine], 0)
        lines.append(line)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a table of texts, or a folder with one a split")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--runs", type=Path, help="folder of the run directories, by default OUT/runs")
    parser.add_argument("--backbone", default="minilm-l6")
    parser.add_argument("--weights", help="as for graft train; by default the backbone's own")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument(
        "--per-class", nargs="+", type=int, default=[0], help="labelled rows a class; 0 is all there are"
    )
    parser.add_argument("--classes", type=int, default=2, help="how many classes there are, for --per-class")
    parser.add_argument("--seeds", type=int, default=1, help="how many: 0, 1, …")
    parser.add_argument("--epochs", type=int, help="of every run; by default the recipe's")
    parser.add_argument("--epochs-of", nargs="*", default=[], metavar="STRATEGY=N", help="for single strategies")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--limit-train", type=int, help="training rows, for a smoke run")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to every run")
    given = parser.parse_args()

    where = environment()
    rows = run_all(given)
    sections = {
        "Mean and range over the seeds": table(means(rows)),
        "Every run": table(rows),
        "Command": f"    {this_command()}",
    }
    data = {"rows": rows, "environment": where, "command": this_command()}
    title = f"{given.backbone} on {Path(given.data).name}: degrees of fine-tuning"
    print(write_results(given.out, "text_strategies", title, sections, data))


if __name__ == "__main__":
    main()
