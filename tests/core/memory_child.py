"""Takes steps in a process whose memory is limited for real (no test itself: `test_engine_memory` runs it).

Usage: memory_child.py MIB TRY FILE: so many MiB beyond what the process holds (0 for no limit), `try` to look for the rows
that fit first, and where the weights go.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping, Sequence

import torch
from safetensors.torch import save_file
from torch import nn

from graftwork.engine.optimizer import build_optimizer, enter_phase, set_rates
from graftwork.engine.step import Stepper
from graftwork.engine.trial import Trial, without_trace
from graftwork.interfaces import (
    Backbone,
    Batch,
    Features,
    Head,
    Model,
    Outputs,
    PlanContext,
    Predictions,
    Spec,
    State,
    Targets,
)
from graftwork.log import heard
from graftwork.machine import memory
from graftwork.machine.device import Device, keep_freed_memory
from graftwork.strategies import full

PIXELS, ROWS, WIDTH = 128, 64, 16


def _convolution(index: int) -> nn.Module:
    """Without a bias: oneDNN adds up its gradient, a million numbers, to no more than three digits."""
    return nn.Conv2d(WIDTH if index else 3, WIDTH, 3, padding=1, bias=False)


class Convolutions(Backbone):
    """Wide maps and few weights: what memory there is goes to activations."""

    def __init__(self) -> None:
        super().__init__()
        self.input = None
        self.provides = {"pooled": WIDTH}
        self.layers = nn.ModuleList(_convolution(index) for index in range(4))

    def stages(self) -> Sequence[nn.Module]:
        return list(self.layers)

    def begin(self, inputs: Mapping[str, torch.Tensor]) -> State:
        return {"x": inputs["pixels"]}

    def advance(self, index: int, state: State, needs: frozenset[str]) -> State:
        return {"x": torch.relu(self.layers[index](state["x"]))}

    def finish(self, state: State, needs: frozenset[str]) -> Features:
        return {"pooled": state["x"].mean(dim=(2, 3))}


class Squares(Head):
    """The mean square of one linear layer, less one."""

    needs = frozenset({"pooled"})

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, 1)

    def loss(self, features: Features, targets: Targets) -> dict[str, torch.Tensor]:
        return {"square": (self.outputs(features)["values"] - 1).square().sum()}

    def counts(self, targets: Targets) -> dict[str, torch.Tensor]:
        return {"square": torch.tensor(float(ROWS))}

    def outputs(self, features: Features) -> Outputs:
        return {"values": self.linear(features["pooled"])}

    def postprocess(self, outputs: Outputs, features: Features) -> Predictions:
        return dict(outputs)


def main() -> None:
    mebibytes, trying, path = int(sys.argv[1]), sys.argv[2] == "try", sys.argv[3]
    torch.manual_seed(0)
    keep_freed_memory()
    model = Model(Convolutions(), Squares())
    plan = full.build(Spec("full")).plan(model, PlanContext(1, 0.1, 0.0, "constant", 0.0, ROWS, 3))
    optimizer = build_optimizer(plan, model, "sgd", 0.9)
    generator = torch.Generator().manual_seed(1)
    batch = Batch(
        torch.arange(ROWS),
        {"pixels": torch.randn(ROWS, 3, PIXELS, PIXELS, generator=generator)},
        {"none": torch.zeros(ROWS)},
    )
    device = Device("cpu", "fp32")
    if mebibytes:
        torch.zeros(1 << 20).add_(1).sum()
        bound = memory._private_memory() + mebibytes * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (bound, resource.RLIM_INFINITY))
    micro_batch = None
    if trying:
        with without_trace(model, plan.phases[0]):
            micro_batch = Trial(model, device, 0).rows_that_fit(batch, 0)
    enter_phase(model, plan.phases[0])
    set_rates(optimizer, plan.phases[0], 0.1)
    said: list[str] = []
    stepper = Stepper(model, optimizer, device, 1.0, 0, micro_batch)
    with heard(said.append):
        for number in (1, 2):
            stepper.step(model, [batch], number)
    sys.stdout.write("\n".join([*said, f"took {stepper.micro_batch}"]))
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)


if __name__ == "__main__":
    main()
