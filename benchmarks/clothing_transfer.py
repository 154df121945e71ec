"""Real ImageNet weights on a small set of photos: does transfer pay, and which degree of fine-tuning?

One backbone, one starting file, the same epochs, batch size and seeds for every strategy; `scratch` starts from random
weights. Learning rates are the strategies' own recipes. Finished runs are skipped and a run that was cut off goes on, so
the same command can be given again at any time.

    python benchmarks/clothing_transfer.py --data DATA/clothing --weights DATA/weights/squeezenet1_0….safetensors \\
        --out benchmarks/results/clothing --runs runs/clothing --epochs 20 --seeds 3
"""

from __future__ import annotations

import argparse
from pathlib import Path

from measure import Row, environment, say, spread, table, this_command, train, write_results

STRATEGIES = ("linear-probe", "lp-ft", "full", "scratch")


def run_all(given: argparse.Namespace) -> list[Row]:
    """All runs, seed by seed, so that an early stop still compares all strategies."""
    rows: list[Row] = []
    for seed in range(given.seeds):
        for strategy in given.strategies:
            settings = {
                "task": "image-classification",
                "data": given.data,
                "backbone": given.backbone,
                "weights": "none" if strategy == "scratch" else given.weights,
                "strategy": strategy,
                "epochs": given.epochs,
                "batch-size": given.batch_size,
                "limit-train": given.limit_train,
                "seed": seed,
            }
            summary = train((given.runs or given.out / "runs") / f"{strategy}-seed{seed}", settings, given.set)
            rows.append(
                {
                    "strategy": strategy,
                    "seed": seed,
                    "test accuracy": summary["test"]["accuracy"],
                    "test macro-F1": summary["test"]["macro_f1"],
                    "val accuracy": summary["val"]["accuracy"],
                    "best epoch": summary["best_epoch"],
                    "fit seconds": summary["fit_seconds"],
                    "precision": summary["precision"],
                }
            )
            say(f"{strategy}, seed {seed}: test accuracy {rows[-1]['test accuracy']:.3f}")
    return rows


def means(rows: list[Row], strategies: list[str]) -> list[Row]:
    """One line a strategy: mean and range over the seeds."""
    lines = []
    for strategy in strategies:
        mine = [row for row in rows if row["strategy"] == strategy]
        line: Row = {"strategy": strategy, "seeds": len(mine)}
        for column in ("test accuracy", "test macro-F1", "val accuracy"):
            line[column] = spread([row[column] for row in mine])
        line["fit seconds"] = spread([row["fit seconds"] for row in mine], 0)
        lines.append(line)
    return lines


def verdict(rows: list[Row]) -> str:
    """The two questions, answered in words from the means over the seeds."""
    accuracy: dict[str, float] = {}
    for strategy in {row["strategy"] for row in rows}:
        values = [row["test accuracy"] for row in rows if row["strategy"] == strategy]
        accuracy[strategy] = sum(values) / len(values)
    tuned = {name: accuracy[name] for name in ("full", "lp-ft") if name in accuracy}
    lines = []
    if tuned:
        best = max(tuned, key=lambda name: tuned[name])
        for other in ("scratch", "linear-probe"):
            if other in accuracy:
                lines.append(f"- {best} against {other}: {tuned[best] - accuracy[other]:+.3f} test accuracy")
    return "\n".join(lines) or "- too few strategies to compare"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="image folders train/, validation/, test/")
    parser.add_argument("--weights", required=True, help="ImageNet weights of the backbone, FILE.safetensors")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--runs", type=Path, help="folder of the run directories, by default OUT/runs")
    parser.add_argument("--backbone", default="squeezenet1_0")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--seeds", type=int, default=1, help="how many: 0, 1, … (3 for a full run)")
    parser.add_argument("--epochs", type=int, default=1, help="of every run (20 for a full run)")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--limit-train", type=int, help="training rows, for a smoke run")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to every run")
    given = parser.parse_args()

    where = environment()
    rows = run_all(given)
    sections = {
        "Mean and range over the seeds": table(means(rows, given.strategies)) + "\n\n" + verdict(rows),
        "Every run": table(rows),
        "Command": f"    {this_command()}",
    }
    data = {"rows": rows, "environment": where, "command": this_command()}
    title = f"{given.backbone} on {Path(given.data).name}: {given.epochs} epochs, batches of {given.batch_size}"
    print(write_results(given.out, "clothing_transfer", title, sections, data))


if __name__ == "__main__":
    main()
