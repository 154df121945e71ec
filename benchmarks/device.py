"""How much of the machine a training step reaches: model FLOPs over seconds, against the machine's measured matmul peak.

For each model: floating-point operations of forward and backward, counted on the real model; the seconds of a step of
graftwork's `Fit` on rows in memory; and the rows a second of a whole `graft train` on files, whose distance to the former is
what loading costs (the share of time in which the step waits for data). The peak is the best of `torch.matmul` over several
sizes in the same number format, so 100 % is what this machine's library reaches, not what its data sheet says.

    python benchmarks/device.py --repeats 3 --out benchmarks/results/device --runs runs/device
    python benchmarks/device.py --device cuda --models resnet50 vit_b_16 bert-base --repeats 3 --out … --runs …
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from arms import Arm, Page, graft_train, measure, others_share, parse, parser_for, publish
from measure import Row, busy_seconds, environment, middle, say, table, verdict
from tiny import encoder, noise_folders, reviews, voc

if TYPE_CHECKING:
    from assembled import InMemory

EPOCHS = 3
"""Of every fit; the first does not count (processes start, files are decoded for the first time)."""

COUNTED = 4
"""Batches over which operations are counted."""


@dataclass(frozen=True)
class Subject:
    """A model and the data that it is fed.

    Args:
        task, backbone: catalogue names.
        batch_size: rows a step, on a processor and on an accelerator.
        steps: an epoch.
        size: of a picture in pixels; of a text in tokens, all alike.
        options: values for `--set`.
    """

    task: str
    backbone: str
    batch_size: tuple[int, int]
    steps: int
    size: int
    options: tuple[str, ...] = ()


SUBJECTS = {
    "resnet18": Subject("image-classification", "resnet18", (32, 256), 8, 224, ("task_options.train_size=224",)),
    "resnet50": Subject("image-classification", "resnet50", (32, 256), 8, 224, ("task_options.train_size=224",)),
    "vit_b_16": Subject("image-classification", "vit_b_16", (32, 256), 8, 224),
    "minilm": Subject("text-classification", "minilm-l6", (32, 256), 16, 128),
    "bert-base": Subject("text-classification", "", (32, 128), 8, 128),
    "retinanet": Subject("detection", "squeezenet1_0", (8, 32), 8, 320, ("task_options.size=320",)),
}
DEFAULT = {"cpu": ("resnet18", "minilm", "retinanet"), "cuda": ("resnet50", "vit_b_16", "bert-base")}
TINY = {
    "resnet18": Subject("image-classification", "resnet18", (4, 4), 2, 64, ("backbone_options.image_size=64",)),
    "bert-base": Subject("text-classification", "", (4, 4), 2, 16),
}
BERT_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}


def settings_of(subject: Subject, name: str, given: argparse.Namespace) -> dict[str, Any]:
    """Flags of `graft train`, data made where it is not there; weights are random, which costs as much time."""
    root: Path = given.runs / f"data-{name}"
    root.mkdir(parents=True, exist_ok=True)
    batch = given.batch_size or subject.batch_size[given.device != "cpu"]
    rows = {"train": batch * subject.steps, "validation": 8, "test": 4}
    settings: dict[str, Any] = {"task": subject.task, "backbone": subject.backbone, "weights": "none"}
    if subject.task == "image-classification":
        settings["data"] = noise_folders(root, rows, round(subject.size * 1.5), 10)
    elif subject.task == "detection":
        settings["data"] = voc(root, {"train": rows["train"], "val": 8, "test": 4}, round(subject.size * 1.5))
    else:
        settings["data"] = reviews(root, rows, (subject.size, subject.size))
    if not subject.backbone:  # an encoder of BERT-base's sizes, and of its vocabulary
        sizes = None if given.tiny else {**BERT_BASE, "max_position_embeddings": 512}
        settings |= {"backbone": encoder(root, sizes, 0 if given.tiny else 30522)}
        del settings["weights"]
    return settings | {"strategy": "full", "epochs": EPOCHS, "batch-size": batch, "device": given.device}


def options_of(subject: Subject) -> list[str]:
    """Values for `--set`."""
    length = [f"backbone_options.length={subject.size}"] if subject.task == "text-classification" else []
    return [*subject.options, *length]


def matmul_peak(device: str, precision: str, sizes: Sequence[int]) -> Row:
    """The most operations a second that products of two square matrices reach.

    Args:
        sizes: rows of the matrices.

    Returns:
        `flops` a second (a multiply-add counts twice) and the `size` that reached it.
    """
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    best: Row = {"flops": 0.0, "size": 0}
    for size in sizes:
        left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        seconds = []
        for _ in range(8):
            _wait(device)
            began = time.perf_counter()
            torch.matmul(left, right)
            _wait(device)
            seconds.append(time.perf_counter() - began)
        flops = 2 * size**3 / min(seconds[1:])
        if flops > best["flops"]:
            best = {"flops": flops, "size": size}
    return best


def _wait(device: str) -> None:
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()


def flops_a_row(start: InMemory) -> float:
    """Operations of forward and backward for one row, the mean over some batches with their padding.

    Counted are matrix products and convolutions; a multiply-add is two operations.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from graftwork.machine.precision import autocast

    model, device = start.model, start.device.torch_device
    model.train()
    batches = start.batches()[:COUNTED]
    counter = FlopCounterMode(display=False)
    # The kernels of attention on a processor are unknown to the counter; as plain products they are not.
    with counter, sdpa_kernel(SDPBackend.MATH):
        for rows in batches:
            batch = start.data.train.collate(rows, [start.data.train.load(row) for row in rows]).to(device)
            with autocast(start.device.precision, device):
                parts = model(batch, "loss")
            torch.stack([value.float().sum() for value in parts.values()]).sum().backward()  # type: ignore[no-untyped-call]
    model.zero_grad(set_to_none=True)
    return counter.get_total_flops() / sum(len(rows) for rows in batches)


def in_memory(start: InMemory) -> Row:
    """Rows a second of a fit on rows in memory."""

    everything, ours, began = busy_seconds(), time.process_time(), time.perf_counter()
    history = start.again().fit()
    seconds = time.perf_counter() - began
    rate = median(line["samples_per_second"] for line in history[1:])
    others = others_share(everything, time.process_time() - ours, seconds)
    return {"rows_a_second": rate, "seconds": seconds, "taken_by_others": others}


def run_figures(run: Path) -> Row:
    """Rows a second of a finished run, its first epoch left out."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    rate = median(json.loads(line)["samples_per_second"] for line in lines[1:])
    return {"rows_a_second": rate, "peak_memory_mb": (summary["peak_memory_bytes"] or 0) / 2**20}


def measured(name: str, subject: Subject, given: argparse.Namespace) -> tuple[list[Row], Row]:
    """All rounds of one model, and what does not change from round to round."""
    from assembled import assemble

    settings, options = settings_of(subject, name, given), options_of(subject)
    flags = {key.replace("-", "_"): str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    start = assemble(flags, options)
    sizes: Any = start.data.train.sizes()
    units = sum(sizes) / len(sizes) if subject.task == "text-classification" else None
    about: Row = {
        "flops_a_row": flops_a_row(start),
        "tokens_a_row": units,
        "precision": start.device.precision,
        "batch_size": settings["batch-size"],
    }
    rows = []
    for seed in range(given.repeats):
        place: Path = given.runs / f"{name}-{given.device}-batch{settings['batch-size']}-seed{seed}"
        arm = Arm("graft train", place, graft_train(place / "run", settings | {"seed": seed}, options), _reader(place))
        rows.append({"model": name, "arm": "rows in memory", "seed": seed, **in_memory(start)})
        rows.append({"model": name, **measure(arm, seed)})
        say(
            f"{name}: {rows[-2]['rows_a_second']:.1f} rows a second in memory, {rows[-1]['rows_a_second']:.1f} in a run"
        )
    return rows, about


def _reader(place: Path) -> Any:
    return lambda: run_figures(place / "run")


def line_of(name: str, rows: Sequence[Row], about: Row, peak: float) -> Row:
    """The results of one model."""
    steps = [row["rows_a_second"] for row in rows if row["arm"] == "rows in memory"]
    runs = [row["rows_a_second"] for row in rows if row["arm"] == "graft train"]
    tokens = about["tokens_a_row"]
    return {
        "model": name,
        "precision": about["precision"],
        "batch": about["batch_size"],
        "GFLOP a row": round(about["flops_a_row"] / 1e9, 2),
        "step, milliseconds": middle([1000 * about["batch_size"] / rate for rate in steps], 1),
        "rows a second (step)": middle(steps, 1),
        "TFLOP a second": middle([about["flops_a_row"] * rate / 1e12 for rate in steps], 3),
        "of the matmul peak": f"{about['flops_a_row'] * median(steps) / peak:.1%}",
        "rows a second (graft train)": middle(runs, 1),
        "tokens a second (graft train)": middle([tokens * rate for rate in runs], 0) if tokens else "-",
        "waits for data": f"{max(0.0, 1 - median(b / a for a, b in zip(steps, runs, strict=True))):.1%}",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--models", nargs="+", choices=list(SUBJECTS), help="by default those usual on the device")
    parser.add_argument("--batch-size", type=int, help="rows a step, for all models")
    given = parse(parser, arguments, {"models": list(TINY)})
    known = TINY if given.tiny else SUBJECTS
    models = given.models or DEFAULT[given.device.split(":")[0]]

    where = environment()
    sizes = (128, 256) if given.tiny else (512, 1024, 2048, 4096, *([8192, 16384] if given.device != "cpu" else []))
    peaks = {precision: matmul_peak(given.device, precision, sizes) for precision in ("fp32", "bf16")}
    rows: list[Row] = []
    result, verdicts = [], []
    for name in models:
        mine, about = measured(name, known[name], given)
        rows += mine
        peak = peaks.setdefault(about["precision"], matmul_peak(given.device, about["precision"], sizes))["flops"]
        result.append(line_of(name, mine, about, peak))
        steps = [row["rows_a_second"] for row in mine if row["arm"] == "rows in memory"]
        shares = [about["flops_a_row"] * rate / peak for rate in steps]
        verdicts.append(
            verdict(f"{name} on {given.device}, {about['precision']}: a step's share of the matmul peak", shares)
        )
    shown = [
        {"format": name, "TFLOP a second": round(peak["flops"] / 1e12, 3), "at": f"{peak['size']} × {peak['size']}"}
        for name, peak in peaks.items()
    ]
    notes = [
        "Operations are counted (torch.utils.flop_counter) for forward and backward, matrix products and convolutions only, "
        "with the padding that batches have. Weights are random and data is made here. Rows a second are medians over "
        f"{EPOCHS - 1} epochs after one that does not count. Waits for data: how far a run on files falls short of the same "
        "steps on rows in memory.",
    ]
    publish(
        given,
        "device",
        "How much of the machine a step reaches",
        where,
        Page(
            notes=notes,
            verdicts=verdicts,
            result=result,
            rows=rows,
            sections={"Peak of torch.matmul": table(shown)},
            data={"peaks": peaks, "device": given.device},
        ),
    )


if __name__ == "__main__":
    main()
