"""A plain detection loop as in torchvision's references against `graft train`: same net, weights, pictures, steps.

A is `detection_loop.py`, float32. B is `graft train --task detection` with its head as torchvision's RetinaNet and the
same optimizer, rate, schedule and mirror; its precision is what it chooses for the machine. C is B in float32: what is
left without it. Each run is a process of its own; the runs alternate A B C A B C, so that a machine that slows down slows
all of them. Finished runs are kept; one that was cut off starts again.

    python benchmarks/detection_loop_vs_graft.py --data DATA/bccd --weights squeezenet1_0.safetensors --epochs 2 --seeds 3 \\
        --out benchmarks/results/detection-loop --runs runs/detection-loop
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from classic_vs_graft import QUIET, timed
from measure import Row, environment, say, spread, table, this_command, write_results

HERE = Path(__file__).resolve().parent
NAMES = {"A": "A plain loop, fp32", "B": "B graft train", "C": "C graft train, fp32"}


def command_of(arm: str, given: argparse.Namespace, out: Path, seed: int) -> list[str]:
    """The command of one arm."""
    if arm == "A":
        words = [HERE / "detection_loop.py", "--data", given.data, "--weights", given.weights]
        words += ["--epochs", given.epochs, "--size", given.size, "--seed", seed, "--json", out / "figures.json"]
        return [sys.executable, *map(str, words)]
    words = ["-m", "graftwork", "train", "--task", "detection", "--data", given.data, "--strategy", "full"]
    words += ["--backbone", "squeezenet1_0", "--weights", given.weights, "--head", "retinanet", "--seed", seed]
    words += ["--epochs", given.epochs, "--batch-size", 8, "--lr", 2e-4, "--out", out / "run"]
    settings = ["weight_decay=0.01", "warmup=0.1", "grad_clip=0", "workers=0", "task_options.augment=none"]
    settings += ["task_options.flip=horizontal", f"task_options.size={given.size}"]
    settings += [f"head_options.{option}" for option in ("width=256", "depth=4", "norm=none", "box_loss=l1")]
    for setting in [*settings, *(["precision=fp32"] if arm == "C" else [])]:
        words += ["--set", setting]
    return [sys.executable, *map(str, words)]


def measure(arm: str, given: argparse.Namespace, out: Path, seed: int) -> Row:
    """One run of one arm, or the figures of the finished one.

    Raises:
        SystemExit: the run failed.
    """
    result = out / "result.json"
    if result.is_file():
        stored: Row = json.loads(result.read_text(encoding="utf-8"))
        return stored
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    row: Row = {"arm": arm, "seed": seed, **timed(command_of(arm, given, out, seed), out)}
    if arm == "A":
        lines = json.loads((out / "figures.json").read_text(encoding="utf-8"))["epochs"]
        losses, rates = [line["loss"] for line in lines], [line["samples_per_second"] for line in lines]
    else:
        lines = [json.loads(line) for line in (out / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        losses, rates = [line["train_loss"] for line in lines], [line["samples_per_second"] for line in lines]
        row["precision"] = json.loads((out / "run" / "summary.json").read_text(encoding="utf-8"))["precision"]
    row |= {"samples_per_second": len(rates) / sum(1 / rate for rate in rates), "loss": losses[-1], "losses": losses}
    temporary = out / "result.tmp"
    temporary.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    temporary.rename(result)
    return row


def comparison(rows: Sequence[Row]) -> list[Row]:
    """One line an arm; 2 is twice as many pictures a second as the plain loop, by the medians."""
    plain = median(row["samples_per_second"] for row in rows if row["arm"] == "A")
    lines = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        mine = [row for row in rows if row["arm"] == arm]
        lines.append(
            {
                "arm": NAMES[arm],
                "pictures a second in training": spread([row["samples_per_second"] for row in mine], 2),
                "times as fast": f"{median(row['samples_per_second'] for row in mine) / plain:.2f}",
                "training loss, last epoch": spread([row["loss"] for row in mine], 4),
                "whole process, seconds": spread([row["seconds"] for row in mine], 1),
            }
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a Pascal VOC folder with ImageSets/Main")
    parser.add_argument("--weights", type=Path, required=True, help="SqueezeNet's, under torchvision's key names")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--runs", type=Path, help="folder of the run directories, by default OUT/runs")
    parser.add_argument("--epochs", type=int, default=2, help="of every run")
    parser.add_argument("--size", type=int, default=320, help="pixels, the shorter side")
    parser.add_argument("--seeds", type=int, default=1, help="how many: 0, 1, … (3 for a full run)")
    parser.add_argument("--arms", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--threads", type=int, help="processor threads of every run; by default what torch takes")
    given = parser.parse_args()

    if given.threads:
        os.environ["OMP_NUM_THREADS"] = str(given.threads)  # read by torch when it is imported, here and in the runs
    where = environment()
    runs = given.runs or given.out / "runs"
    rows = []
    for seed in range(given.seeds):
        for arm in given.arms:
            rows.append(measure(arm, given, runs / f"{arm}-epochs{given.epochs}-size{given.size}-seed{seed}", seed))
            say(f"{arm}, seed {seed}: {rows[-1]['samples_per_second']:.2f} a second, loss {rows[-1]['loss']:.4f}")
    notes = [
        f"{given.epochs} epochs on {given.data.name}, shorter side {given.size} pixels, batches of 8, AdamW at 2e-4 with "
        "warm-up and cosine, one process, no loader processes. Validation is in neither side's pictures a second. The whole "
        "process of graft holds its audit, an evaluation after every epoch, the test split, artifact, proofs and report.",
    ]
    busy = [row["taken_by_others"] for row in rows if (row["taken_by_others"] or 0.0) > QUIET]
    if busy:
        notes.append(
            f"**The machine was not quiet**: other processes took up to {max(busy):.0%} of it during {len(busy)} of "
            f"{len(rows)} runs. Repeat on a quiet machine."
        )
    shown = [{key: value for key, value in row.items() if key != "losses"} for row in rows]
    sections = {
        "Result": "\n\n".join([*notes, table(comparison(rows))]),
        "Every run": table(
            [{key: row.get(key) for key in dict.fromkeys(k for r in shown for k in r)} for row in shown]
        ),
        "Command": f"    {this_command()}",
    }
    found = {"rows": rows, "environment": where, "command": this_command()}
    print(write_results(given.out, "detection_loop", "A plain detection loop and graft train", sections, found))


if __name__ == "__main__":
    main()
