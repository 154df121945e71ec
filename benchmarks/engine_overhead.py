"""What the engine costs: `Fit` against a bare loop of plain torch with the same settings, on rows that lie in memory.

A is the bare loop below: what somebody would write who knows everything that graft's settings are (same net, number format,
channels_last, fused AdamW, warm-up and cosine, gradient clipping) and wants nothing else: no resume, no out-of-memory
retry, no watch for losses that are not finite, no seeds a row. B is graftwork's `Fit` with its own loading and sampling,
no loader processes. Both run in this process with the same starting weights and the same rows in every step, so that they
must end at the same loss. What is compared is the time of a training step, evaluations left out; the first epoch of every
turn is left out as well.

Turns are short and go A B B A in every round, so that a machine that drifts slows both sides of a round alike; a net with
short steps gets more rounds. A round gives one ratio, of the medians over each side's epochs; the median over the rounds is
judged, with a bootstrap interval beside it. Processor seconds tell the same story with time lost to others left out.

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

from arms import Page, others_share, parse, parser_for, publish
from measure import Row, busy_seconds, environment, interval_of_median, middle, say, verdict
from tiny import noise_folders

if TYPE_CHECKING:
    from assembled import InMemory
    from torch import Tensor, nn

AT_MOST = 1.03
MEASURED = 2
"""Epochs of a turn that count, after one that does not."""
ROUND = "ABBA"


@dataclass(frozen=True)
class Case:
    """One net at one size.

    Args:
        rounds: for each of `--repeats`.
    """

    backbone: str
    pixels: int
    rows: int
    batch_size: int = 32
    rounds: int = 1

    def __str__(self) -> str:
        return f"{self.backbone}, {self.pixels} pixels, batches of {self.batch_size}"


FULL = (Case("resnet18", 224, 256), Case("graftnet-s", 32, 1024, rounds=6))
TINY = (Case("resnet18", 32, 32, 8), Case("graftnet-s", 32, 64, 16))


def assembled(case: Case, given: argparse.Namespace) -> InMemory:
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
    plan: InMemory,
) -> tuple[list[float], list[float], float]:
    """Train; the seconds and the processor seconds of every epoch, and the mean loss of the last.

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
    dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[plan.device.precision]
    seconds, processor, step, total = [], [], 0, torch.zeros((), device=device)
    for batches in epochs:
        total.zero_()
        began, used = time.perf_counter(), time.process_time()
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
        processor.append(time.process_time() - used)
    return seconds, processor, mean_loss


def our_fit(start: InMemory) -> tuple[list[float], list[float], float]:
    """Train with `Fit`; what `bare_loop` gives."""
    from graftwork.interfaces import Observer

    class Processor(Observer):
        """Processor seconds of every epoch's training; its evaluation begins where they end."""

        name = "processor"

        def __init__(self) -> None:
            self.used: list[float] = []
            self.began = time.process_time()

        def evaluation_start(self, rows: int) -> None:
            self.used.append(time.process_time() - self.began)

        def epoch_end(self, record: object) -> None:
            self.began = time.process_time()

    watch = Processor()
    history = start.again().fit([watch])
    seconds = [len(start.data.train) / line["samples_per_second"] for line in history]
    return seconds, watch.used, history[-1]["train_loss"]


def turn(arm: str, case: Case, start: InMemory, number: int) -> Row:
    """One turn of one side in a round of that number, from the same starting weights."""
    import torch

    everything, ours, began = busy_seconds(), time.process_time(), time.perf_counter()
    batches = [start.batches(epoch) for epoch in range(1 + MEASURED)]
    if arm == "A":
        loaded = start.data.train.loaded  # type: ignore[attr-defined]
        pixels, labels = torch.stack([row[0] for row in loaded]), torch.tensor([row[1] for row in loaded])
        net = plain_net(case, start.model)
        seconds, processor, loss = bare_loop(net, pixels, labels, batches, start.model.backbone.input, start)
    else:
        seconds, processor, loss = our_fit(start)
    whole = time.perf_counter() - began
    return {
        "arm": arm,
        "case": str(case),
        "round": number,
        "step_milliseconds": [round(1000 * epoch / len(batches[0]), 3) for epoch in seconds[1:]],
        "processor_milliseconds": [round(1000 * epoch / len(batches[0]), 3) for epoch in processor[1:]],
        "loss": loss,
        "seconds": whole,
        "taken_by_others": others_share(everything, time.process_time() - ours, whole),
    }


def round_medians(rows: Sequence[Row], arm: str, column: str) -> list[float]:
    """Medians over the epochs of one side, round by round."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if row["arm"] == arm:
            found.setdefault(row["round"], []).extend(row[column])
    return [median(epochs) for epochs in found.values()]


def overheads(rows: Sequence[Row], column: str) -> list[float]:
    """graft's time over the bare loop's, one a round."""
    sides = (round_medians(rows, arm, column) for arm in "BA")
    return [ours / bare for ours, bare in zip(*sides, strict=True)]


def summed_up(case: Case, rows: Sequence[Row]) -> Row:
    """A case in one line of the table: medians over the rounds with the range, and an interval of the median."""
    line: Row = {"case": str(case), "rounds": 1 + max(row["round"] for row in rows)}
    for column, of in (("step_milliseconds", "milliseconds a step"), ("processor_milliseconds", "processor ms a step")):
        for arm, side in (("A", "bare loop"), ("B", "graft's Fit")):
            line[f"{side}, {of}"] = middle(round_medians(rows, arm, column), 2)
        found = [100 * (ratio - 1) for ratio in overheads(rows, column)]
        low, high = interval_of_median(found)
        kind = "overhead" if column == "step_milliseconds" else "overhead in processor time"
        line[f"{kind}, per cent: median (95 % interval)"] = f"{median(found):.2f} ({low:.2f} to {high:.2f})"
    for arm, side in (("A", "bare loop"), ("B", "graft's Fit")):
        line[f"loss, {side}"] = middle([row["loss"] for row in rows if row["arm"] == arm], 5)
    return line


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
        rounds = range(given.repeats * (1 if given.tiny else case.rounds))
        mine = [turn(arm, case, start, number) for number in rounds for arm in ROUND]
        ratio = overheads(mine, "step_milliseconds")
        verdicts.append(verdict(f"engine over a bare loop, {case}", ratio, at_most=AT_MOST))
        result.append(summed_up(case, mine))
        rows += mine
        say(f"{case}: {100 * (median(ratio) - 1):.2f} % over the bare loop")
    notes = [
        f"{start.device.precision}, channels_last, fused AdamW, warm-up and cosine, gradients clipped, rows in memory. "
        f"{MEASURED} epochs of a turn count, after one that does not; turns go {' '.join(ROUND)} in every round, and a round "
        "gives one ratio. Both sides take the same rows in the same steps from the same weights, so the losses must agree but "
        "for rounding."
    ]
    title = "The engine and a bare loop"
    publish(given, "engine_overhead", title, where, Page(notes=notes, verdicts=verdicts, result=result, rows=rows))


if __name__ == "__main__":
    main()
