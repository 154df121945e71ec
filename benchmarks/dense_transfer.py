"""Does transfer pay for boxes and masks? Arms of `graft train` on one data set, each with its own words, seeds as repeats.

    python benchmarks/dense_transfer.py --task detection --data DATA/bccd --seeds 1 \\
        --set task_options.flip=both --set workers=0 --epochs 30 \\
        --arm "ImageNet=--backbone squeezenet1_0 --weights squeezenet1_0.safetensors --strategy full" \\
        --arm "scratch=--backbone squeezenet1_0 --strategy scratch" \\
        --out benchmarks/results/bccd --runs runs/bccd

`--cells DIR` writes every annotated object of a Pascal VOC folder as a picture of its own into class folders, the data
of a classification of the same domain, whose run an arm can start from (`--backbone run:DIR`).
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import Row, environment, say, spread, table, this_command, train, write_results

METRICS = {"detection": ("map", "map_50", "ar_100"), "segmentation": ("mean_iou", "pixel_accuracy")}
MARGIN = 0.15
"""Of an object's size on each side, so that a cell is seen with its surroundings."""


def cut_out(data: Path, out: Path) -> int:
    """Objects of the train and validation splits as pictures in OUT/SPLIT/CLASS/; their number. Test is not looked at."""
    from PIL import Image

    from graftwork.interfaces import DataRequest
    from graftwork_detection.audit import audit_detection
    from graftwork_detection.read import read_detection

    tables, _ = audit_detection(read_detection(DataRequest(str(data))))
    written = 0
    for split in ("train", "validation"):
        for row in tables.splits[split]:
            name = Path(row["origin"]).stem
            with Image.open(row["image"]["path"]) as file:
                picture = file.convert("RGB")
            for index, (box, label) in enumerate(zip(row["objects"]["bbox"], row["objects"]["category"], strict=True)):
                left, top, width, height = box
                across, down = MARGIN * width, MARGIN * height
                corners = (left - across, top - down, left + width + across, top + height + down)
                folder = out / split / tables.names[label]
                folder.mkdir(parents=True, exist_ok=True)
                picture.crop(tuple(map(round, corners))).save(folder / f"{name}-{index}.png")
                written += 1
    return written


def arms_of(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`NAME=--flag value …` as settings by name; values of `--set` are gathered under `set`."""
    arms: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, _, words = text.partition("=")
        settings: dict[str, Any] = {"set": []}
        flags = shlex.split(words)
        for flag, value in zip(flags[::2], flags[1::2], strict=True):
            if flag == "--set":
                settings["set"].append(value)
            else:
                settings[flag.removeprefix("--")] = value
        arms[name] = settings
    return arms


def run_all(given: argparse.Namespace) -> list[Row]:
    """Every arm with every seed; finished runs are taken as they are."""
    rows: list[Row] = []
    runs = given.runs or given.out / "runs"
    for seed in range(given.seeds):
        for name, arm in arms_of(given.arm).items():
            shared = {"task": given.task, "data": given.data, "epochs": given.epochs, "seed": seed or None}
            settings = shared | {key: value for key, value in arm.items() if key != "set"}
            summary = train(runs / f"{name}-seed{seed}", settings, [*given.set, *arm["set"]])
            row: Row = {"arm": name, "seed": seed}
            for metric in METRICS[given.task]:
                row |= {f"test {metric}": summary["test"][metric], f"val {metric}": summary["val"][metric]}
            row |= {"best epoch": summary["best_epoch"], "epochs": summary["epochs"]}
            row |= {"fit seconds": summary["fit_seconds"], "pictures a second": summary["samples_per_second"]}
            rows.append(row)
            say(f"{name}, seed {seed}: {METRICS[given.task][0]} {row['test ' + METRICS[given.task][0]]:.3f} on test")
    return rows


def means(rows: Sequence[Row], task: str) -> list[Row]:
    """One line an arm: means over the seeds with the range."""
    lines = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        mine = [row for row in rows if row["arm"] == arm]
        line: Row = {"arm": arm}
        for metric in METRICS[task]:
            line[f"test {metric}"] = spread([row[f"test {metric}"] for row in mine])
        line[f"val {METRICS[task][0]}"] = spread([row[f"val {METRICS[task][0]}"] for row in mine])
        line["fit seconds"] = spread([row["fit seconds"] for row in mine], 0)
        lines.append(line)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=list(METRICS), default="detection")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--arm", action="append", default=[], metavar="NAME=WORDS", help="words of graft train")
    parser.add_argument("--cells", type=Path, metavar="DIR", help="only write the objects as pictures, and end")
    parser.add_argument("--out", type=Path, help="folder of the results")
    parser.add_argument("--runs", type=Path, help="folder of the run directories, by default OUT/runs")
    parser.add_argument("--epochs", type=int, default=1, help="of every arm that does not say its own")
    parser.add_argument("--seeds", type=int, default=1, help="how many: 0, 1, … (3 for a full run)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to every run")
    given = parser.parse_args()
    if given.cells:
        print(f"{cut_out(given.data, given.cells):,} objects in {given.cells.name}/")
        return
    if not given.arm or given.out is None:
        parser.error("give --out and at least one --arm")

    where = environment()
    rows = run_all(given)
    sections = {
        "Mean and range over the seeds": table(means(rows, given.task)),
        "Every run": table(rows),
        "Command": f"    {this_command()}",
    }
    data = {"rows": rows, "environment": where, "command": this_command()}
    print(write_results(given.out, "dense_transfer", f"{given.task} on {given.data.name}", sections, data))


if __name__ == "__main__":
    main()
