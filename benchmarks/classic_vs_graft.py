"""The classic transfer-learning script against `graft train`: the same data, epochs and starting weights.

A is `classic_script.py` (batches of 4, SGD, fp32). B is `graft train --backbone resnet18 --strategy full` as it comes. C,
with `--train-size`, is B trained at that many pixels: its own recipe says 176 (Touvron et al. 2019, FixRes), so 224 shows
what that brings. Each run is a process of its own; the runs alternate A B C A B C, so that a machine that slows down slows
all of them. A run that was cut off starts again, because only a whole one can be timed; finished ones are kept.

    python benchmarks/classic_vs_graft.py --data DATA/clothing --out benchmarks/results/classic --runs runs/classic \\
        --epochs 10 --repeats 2 --train-size 224
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean
from typing import Any

from measure import Row, busy_seconds, environment, say, spread, table, this_command, write_results

HERE = Path(__file__).resolve().parent
RESULT = "result.json"
QUIET = 0.05  # share of the machine that others may take before a run's times are called into question


def starting_weights(given: argparse.Namespace, runs: Path) -> Path:
    """The state dict that both sides start from, in torchvision's key names: a given file, or random from a seed."""
    if given.weights:
        return Path(given.weights)
    import torch
    from safetensors.torch import save_file
    from torchvision import models

    path = runs / f"resnet18-random-seed{given.init_seed}.safetensors"
    if not path.is_file():
        torch.manual_seed(given.init_seed)
        temporary = path.with_suffix(".tmp")
        save_file(models.resnet18(weights=None).state_dict(), str(temporary))
        temporary.rename(path)
    return path


def classic(given: argparse.Namespace, weights: Path, out: Path, seed: int) -> list[str]:
    """Arm A."""
    words = [str(HERE / "classic_script.py"), "--data", given.data, "--epochs", given.epochs, "--weights", weights]
    words += ["--workers", given.classic_workers, "--seed", seed, "--json", out / "figures.json"]
    return [sys.executable, *map(str, words)]


def graft(given: argparse.Namespace, weights: Path, out: Path, seed: int, train_size: int | None) -> list[str]:
    """Arms B and C."""
    words = ["-m", "graftwork", "train", "--task", "image-classification", "--data", given.data]
    words += ["--backbone", "resnet18", "--weights", weights, "--strategy", "full", "--epochs", given.epochs]
    words += ["--seed", seed, "--out", out / "run"]
    for option in [*given.set, *([f"task_options.train_size={train_size}"] if train_size else [])]:
        words += ["--set", option]
    return [sys.executable, *map(str, words)]


def timed(command: list[str], out: Path) -> Row:
    """Run a command to its end, its output into out/log.txt; wall and processor seconds of the whole process tree.

    Raises:
        SystemExit: it failed.
    """
    say(shlex.join(command))
    everything, ours, began = busy_seconds(), _processor_seconds(), time.perf_counter()
    with (out / "log.txt").open("w", encoding="utf-8") as log:
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    seconds, ours = time.perf_counter() - began, _processor_seconds() - ours
    if code:
        tail = "".join((out / "log.txt").read_text(encoding="utf-8").splitlines(keepends=True)[-5:])
        raise SystemExit(f"exit code {code}, see {out / 'log.txt'}:\n{tail}")
    others = None if everything is None else max(0.0, (busy_seconds() or 0.0) - everything - ours)
    share = None if others is None else others / (seconds * (os.cpu_count() or 1))
    return {"seconds": seconds, "processor_seconds": ours, "taken_by_others": share}


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(arm: str, given: argparse.Namespace, weights: Path, out: Path, seed: int) -> Row:
    """One run of one arm, or the figures of the finished one.

    Raises:
        SystemExit: the run failed, or `out` holds the figures of another command.
    """
    result = out / RESULT
    if arm == "A":
        command = classic(given, weights, out, seed)
    else:
        command = graft(given, weights, out, seed, given.train_size if arm == "C" else None)
    if result.is_file():
        stored: Row = json.loads(result.read_text(encoding="utf-8"))
        if stored["command"] != command[1:]:
            raise SystemExit(f"{out} holds a run with other settings: choose another --runs, or remove it")
        return stored
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    row: Row = {"arm": arm, "seed": seed, "command": command[1:], **timed(command, out)}
    if arm == "A":
        figures = json.loads((out / "figures.json").read_text(encoding="utf-8"))
        row |= {name: figures[name] for name in ("fit_seconds", "samples_per_second", "val_accuracy", "best_epoch")}
        row["curve"] = [epoch["val_accuracy"] for epoch in figures["epochs"]]
        row["settings"] = "batches of 4, SGD 0.001 / StepLR, fp32, contiguous"
    else:
        summary = json.loads((out / "run" / "summary.json").read_text(encoding="utf-8"))
        lines = (out / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        epochs = [json.loads(line) for line in lines]
        row["fit_seconds"] = sum(epoch["seconds"] for epoch in epochs)
        row["samples_per_second"] = summary["samples_per_second"]
        row["val_accuracy"], row["best_epoch"] = summary["val"]["accuracy"], summary["best_epoch"]
        row["curve"] = [epoch["val"]["accuracy"] for epoch in epochs]
        row["test_accuracy"] = summary["test"].get("accuracy")
        row["settings"] = _settings(out / "run", summary)
    temporary = out / "result.tmp"
    temporary.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    temporary.rename(result)
    return row


def _settings(run: Path, summary: Row) -> str:
    plan: dict[str, Any] = json.loads((run / "plan.json").read_text(encoding="utf-8"))
    values = {setting["name"]: setting["value"] for setting in plan["settings"]}
    size = (values["task_options"] or {}).get("train_size", 0)
    return (
        f"batches of {values['batch_size']}, {values['optimizer']} {values['lr']} / {values['schedule']}, "
        f"{summary['precision']}, channels_last, {values['workers']} loader processes"
        + (f", trained at {size} pixels" if size else "")
    )


def comparison(rows: list[Row]) -> list[Row]:
    """One line an arm; ratios are A's mean over the arm's, so that 3 is three times as fast as the classic script."""
    names = {"A": "A classic script", "B": "B graft train", "C": "C graft train, smaller pictures"}
    base = [row for row in rows if row["arm"] == "A"]
    lines = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        mine = [row for row in rows if row["arm"] == arm]

        def times(column: str, mine: list[Row] = mine) -> str:
            return f"{mean(row[column] for row in base) / mean(row[column] for row in mine):.2f}"

        lines.append(
            {
                "arm": names[arm],
                "whole process, seconds": spread([row["seconds"] for row in mine], 1),
                "times as fast": times("seconds"),
                "fit and validation, seconds": spread([row["fit_seconds"] for row in mine], 1),
                "times as fast (fit)": times("fit_seconds"),
                "processor seconds": spread([row["processor_seconds"] for row in mine], 0),
                "images a second in training": spread([row["samples_per_second"] for row in mine], 1),
                "best val accuracy": spread([row["val_accuracy"] for row in mine]),
                "what differs": mine[0]["settings"],
            }
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="image folders train/, validation/, maybe test/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--runs", type=Path, help="folder of the run directories, by default OUT/runs")
    parser.add_argument("--epochs", type=int, default=1, help="of every run (10 or more for a full run)")
    parser.add_argument("--repeats", type=int, default=1, help="seeds 0, 1, … (2 or more for a full run)")
    parser.add_argument("--weights", help="starting state dict of ResNet-18, FILE; by default random from a seed")
    parser.add_argument("--init-seed", type=int, default=0, help="of the random starting weights")
    parser.add_argument("--train-size", type=int, help="pixels, adds arm C (224 for a full run)")
    parser.add_argument("--classic-workers", type=int, default=4, help="loader processes of the classic script")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to graft train")
    given = parser.parse_args()

    where = environment()
    runs = given.runs or given.out / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    weights = starting_weights(given, runs)
    rows = []
    for seed in range(given.repeats):
        for arm in ("A", "B", "C") if given.train_size else ("A", "B"):
            # Settings are part of the name: another question gets other runs, the same question finds its own.
            name = f"{arm}-epochs{given.epochs}-seed{seed}" + (f"-{given.train_size}px" if arm == "C" else "")
            rows.append(measure(arm, given, weights, runs / name, seed))
            say(f"{arm}, seed {seed}: {rows[-1]['seconds']:.1f} s, val accuracy {rows[-1]['val_accuracy']:.3f}")
    busy = [row["taken_by_others"] for row in rows if (row["taken_by_others"] or 0.0) > QUIET]
    notes = [
        f"{given.epochs} epochs on {given.data.name}, both from {weights.name}; validation after every epoch. The whole "
        "process includes imports, reading the data and, for graft, its audit, test split, artifact, proofs and report.",
        "Not the same on purpose: each side runs as its user would run it. Also different: graft draws crops of 0.35 to 1 "
        "of the picture (the classic script 0.08 to 1), warms up, clips gradients to norm 1 and starts its head near zero.",
    ]
    if busy:
        notes.append(
            f"**The machine was not quiet**: other processes took up to {max(busy):.0%} of it during {len(busy)} of "
            f"{len(rows)} runs. Neither seconds nor ratios are to be trusted; repeat on a quiet machine."
        )
    sections = {
        "Result": "\n\n".join([*notes, table(comparison(rows))]),
        "Every run": table(
            [{k: v for k, v in row.items() if k not in ("curve", "settings", "command")} for row in rows]
        ),
        "Command": f"    {this_command()}",
    }
    # The runs' own commands stay with the runs: they are full of this machine's paths.
    shown = [{k: v for k, v in row.items() if k != "command"} for row in rows]
    data = {"rows": shown, "environment": where, "command": this_command()}
    print(write_results(given.out, "classic_vs_graft", "The classic script and graft train", sections, data))


if __name__ == "__main__":
    main()
