"""What the engine costs: `Fit` against a bare loop of plain torch with the same settings, on rows that lie in memory.

A is the bare loop below: what somebody would write who knows everything that graft's settings are (same net, number format,
channels_last, fused AdamW, warm-up and cosine, gradient clipping) and wants nothing else: no resume, no out-of-memory
retry, no watch for losses that are not finite, no seeds a row. B is graftwork's `Fit` with its own loading and sampling,
no loader processes. Both run in this process, in turns A B A B, with the same starting weights and the same rows in every
step, so that they must end at the same loss. What is compared is the time of a training step, evaluations left out; the
first epoch of every turn is left out as well.

    python benchmarks/engine_overhead.py --repeats 7 --out benchmarks/results/engine-overhead --runs runs/engine-overhead
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from arms import others_share, parse, parser_for, publish, ratios
from measure import Row, busy_seconds, environment, middle, say, verdict
from tiny import noise_folders

if TYPE_CHECKING:
    from assembled import Assembled
    from torch import Tensor, nn

AT_MOST = 1.03
MEASURED = 3
"""Epochs of a turn that count, after one that does not."""


@dataclass(frozen=True)
class Case:
    """One net at one size."""

    backbone: str
    pixels: int
    rows: int
    batch_size: int = 32


FULL = (Case("resnet18", 224, 256), Case("graftnet-s", 32, 2048))
TINY = (Case("resnet18", 32, 32, 8), Case("graftnet-s", 32, 64, 16))


def assembled(case: Case, given: argparse.Namespace) -> Assembled:
    """Both sides' settings, and graft's side ready to fit."""
    from assembled import assemble

    data = noise_folders(given.runs / case.backbone, {"train": case.rows, "validation": 8, "test": 4}, case.pixels, 10)
    flags: Row = {"task": "image-classification", "data": str(data), "backbone": case.backbone, "weights": "none"}
    flags |= {"strategy": "full", "epochs": 1 + MEASURED, "batch_size": case.batch_size}
    options = ["task_options.augment=none", "task_options.train_size=0", f"backbone_options.image_size={case.pixels}"]
    return assemble(flags, options)


def plain_net(case: Case, model: Any) -> nn.Module:
    """The same network as graft's with the same weights, as a plain module from normalised pixels to scores."""
    from torch import nn
    from torchvision import models

    head = copy.deepcopy(model.head.linear)
    if case.backbone.startswith("resnet"):
        net: nn.Module = models.get_model(case.backbone, weights=None)
        tensors = {name.removeprefix("backbone."): value for name, value in model.state_dict().items()}
        moves = model.backbone.translate({name: name for name in net.state_dict()})  # upstream's name by ours
        net.load_state_dict({upstream: tensors[ours] for ours, upstream in moves.items()}, strict=False)
        net.fc = head
        return net
    parts = [copy.deepcopy(part) for stage in model.backbone.stages() for part in stage.children()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def bare_loop(
    net: nn.Module,
    pixels: Tensor,
    labels: Tensor,
    epochs: Sequence[Sequence[Sequence[int]]],
    facts: Any,
    plan: Assembled,
) -> tuple[list[float], float]:
    """Train; the seconds of every epoch and the mean loss of the last.

    Args:
        pixels: uint8 [rows, 3, H, W].
        labels: int64 [rows].
        epochs: row numbers of every batch of every epoch.
        facts: mean and spread for normalising.
        plan: whose settings are taken.
    """
    import torch
    from torch.nn import functional

    config, device = plan.config, plan.device.torch_device
    net.to(device)
    net.to(memory_format=torch.channels_last)
    net.train()
    scale = torch.tensor([1 / (255 * spread) for spread in facts.std], device=device).view(1, 3, 1, 1)
    shift = torch.tensor([m / spread for m, spread in zip(facts.mean, facts.std, strict=True)], device=device)
    shift = shift.view(1, 3, 1, 1)
    decayed = [parameter for parameter in net.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in net.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(config.momentum, 0.999), fused=True)
    steps = sum(len(batches) for batches in epochs)
    warm = int(config.warmup * steps)
    dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[plan.settings.precision]
    seconds, step, total = [], 0, torch.zeros((), device=device)
    for batches in epochs:
        total.zero_()
        began = time.perf_counter()
        for rows in batches:
            index = torch.tensor(rows)
            chosen, target = pixels[index].to(device, non_blocking=True), labels[index].to(device, non_blocking=True)
            values = (chosen.float() * scale - shift).contiguous(memory_format=torch.channels_last)
            rising = (step + 1) / (warm + 1)
            falling = 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
            for group in optimizer.param_groups:
                group["lr"] = config.lr * (rising if step < warm else falling)
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                scores = net(values)
            loss = functional.cross_entropy(scores.float(), target)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(net.parameters(), config.grad_clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            total += loss.detach() * len(rows)
            step += 1
        mean_loss = float(total) / sum(len(rows) for rows in batches)  # waits for the device
        seconds.append(time.perf_counter() - began)
    return seconds, mean_loss


def turn(arm: str, case: Case, start: Assembled, seed: int) -> Row:
    """One turn of one side, from the same starting weights."""
    import torch

    everything, processor, began = busy_seconds(), time.process_time(), time.perf_counter()
    rows = len(start.data.train)
    batches = [start.batches(epoch) for epoch in range(1 + MEASURED)]
    if arm == "A":
        loaded = start.data.train.loaded  # type: ignore[attr-defined]
        pixels, labels = torch.stack([row[0] for row in loaded]), torch.tensor([row[1] for row in loaded])
        net = plain_net(case, start.model)
        seconds, loss = bare_loop(net, pixels, labels, batches, start.model.backbone.input, start)
    else:
        from dataclasses import replace

        history = replace(start, model=copy.deepcopy(start.model)).fit()
        seconds, loss = [rows / line["samples_per_second"] for line in history], history[-1]["train_loss"]
    whole = time.perf_counter() - began
    return {
        "arm": arm,
        "case": f"{case.backbone}, {case.pixels} pixels, batches of {case.batch_size}",
        "seed": seed,
        "step_milliseconds": 1000 * median(seconds[1:]) / len(batches[0]),
        "loss": loss,
        "seconds": whole,
        "taken_by_others": others_share(everything, time.process_time() - processor, whole),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_for(__doc__)
    nets = [case.backbone for case in FULL]
    parser.add_argument("--nets", nargs="+", choices=nets, default=nets)
    given = parse(parser, arguments, {})

    where = environment()
    rows: list[Row] = []
    verdicts, result = [], []
    for case in TINY if given.tiny else FULL:
        if case.backbone not in given.nets:
            continue
        start = assembled(case, given)
        mine = [turn(arm, case, start, seed) for seed in range(given.repeats) for arm in "AB"]
        ratio = ratios(mine, "B", "A", "step_milliseconds")
        verdicts.append(verdict(f"engine over a bare loop, {mine[0]['case']}", ratio, at_most=AT_MOST))
        sides = {arm: [row for row in mine if row["arm"] == arm] for arm in "AB"}
        fastest = [min(row["step_milliseconds"] for row in sides[arm]) for arm in "AB"]
        result.append(
            {
                "case": mine[0]["case"],
                "bare loop, milliseconds a step": middle([row["step_milliseconds"] for row in sides["A"]], 2),
                "graft's Fit, milliseconds a step": middle([row["step_milliseconds"] for row in sides["B"]], 2),
                "overhead, per cent": middle([100 * (value - 1) for value in ratio], 2),
                "of the fastest turns, per cent": f"{100 * (fastest[1] / fastest[0] - 1):.2f}",
                "loss, bare loop": middle([row["loss"] for row in sides["A"]], 5),
                "loss, graft's Fit": middle([row["loss"] for row in sides["B"]], 5),
            }
        )
        rows += mine
        say(f"{result[-1]['case']}: {result[-1]['overhead, per cent']} % over the bare loop")
    notes = [
        f"{start.settings.precision}, channels_last, fused AdamW, warm-up and cosine, gradients clipped, rows in memory. "
        f"Median of {MEASURED} epochs a turn, after one that does not count; ratios turn by turn. Both sides take the same "
        "rows in the same steps from the same weights, so the losses must agree but for rounding."
    ]
    title = "The engine and a bare loop"
    publish(given, "engine_overhead", title, where, notes=notes, verdicts=verdicts, result=result, rows=rows)


if __name__ == "__main__":
    main()
