"""What it costs that rows of several sizes never share a batch in evaluation: seconds of that against batches of like size.

    python benchmarks/company.py

Each task's sample (its test split) is evaluated with its smallest backbone and default head on one core, in turns.
"""

from __future__ import annotations

import statistics
import time

import torch

from graftwork.catalogue import load_catalogue
from graftwork.data.sampler import in_order, one_size_each
from graftwork.engine import evaluate
from graftwork.machine.device import Device
from graftwork.testing.subjects import assemble

ROUNDS = 5
TASKS = ("text-classification", "detection", "segmentation")


def main() -> None:
    torch.set_num_threads(1)
    for task in TASKS:
        subject = assemble(load_catalogue(), task)
        model = subject.model(0)
        rows = subject.data.tables.splits["test"]
        examples = subject.task.examples(rows, model.backbone.input, subject.facts, False)
        device = Device("cpu", "fp32")
        seconds: dict[str, list[float]] = {"together": [], "apart": []}
        for _ in range(ROUNDS + 1):
            for name, batches in (("together", in_order), ("apart", one_size_each)):
                vars(evaluate)["one_size_each"] = batches
                started = time.perf_counter()
                for _ in evaluate.predictions(model, examples, device, 16):
                    pass
                seconds[name].append(time.perf_counter() - started)
        rounds = list(zip(*(times[1:] for times in seconds.values()), strict=True))
        ratio = statistics.median(apart / together for together, apart in rounds)
        sizes = examples.sizes()
        count = 1 if sizes is None else len(set(map(str, sizes)))
        fastest = ", ".join(f"{min(times):.2f} s {name}" for name, times in seconds.items())
        print(f"{task}: {len(rows)} rows of {count} sizes, {fastest}; the middle of {ROUNDS} ratios {ratio:.2f}")


if __name__ == "__main__":
    main()
