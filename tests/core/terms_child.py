"""Started by torchrun in several processes: steps with terms on shares of one batch, and what they led to as JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import torch
from engine_toys import CONTEXT, toy_batch, toy_model
from term_toys import Centred

from graftwork.engine.optimizer import build_optimizer, enter_phase, set_rates
from graftwork.engine.step import Stepper
from graftwork.engine.terms import start_terms
from graftwork.interfaces import Batch, Plan
from graftwork.machine.device import Device
from graftwork.strategies.terms import StartingPoint
from graftwork.testing.fits import no_teacher

ROWS = 13


def main() -> None:
    """Two steps, so that the second sees what the term took in of the first."""
    device = Device("cpu", "fp32")
    model = toy_model(weights=(0.2, 1.0, 3.0))
    strategy = Centred()
    torch.manual_seed(7)
    strategy.prepare(model, toy_batch(), no_teacher)
    (phase,) = strategy.plan(model, CONTEXT).phases
    phase = replace(phase, terms=(*phase.terms, StartingPoint(0.5, 0.5)))
    plan = Plan("child", (phase,))
    start_terms(plan, model, 0)
    optimizer = build_optimizer(plan, model, "sgd", 0.0)
    enter_phase(model, phase)
    set_rates(optimizer, phase, 0.1)
    model.train()
    stepper = Stepper(model, optimizer, device, 0.0, 0, 3)
    wrapped = device.wrap(model)
    for number in (1, 2):
        stepper.step(wrapped, [share(toy_batch(ROWS), device)], number)
    assert strategy.term is not None
    moved = {name: value.tolist() for name, value in (*model.state_dict().items(), *strategy.term.state().items())}
    states = device.gather([strategy.term.state()["distance"].item()])
    if device.is_main:
        sys.stdout.write(json.dumps({"moved": moved, "told": strategy.term.told, "states": states}))
    device.close()


def share(batch: Batch, device: Device) -> Batch:
    """This process's rows, as the sampler gives them out."""
    rows = slice(device.rank, None, device.world)
    assert isinstance(batch.targets, dict)
    pick = lambda tensors: {name: value[rows] for name, value in tensors.items()}  # noqa: E731
    return Batch(batch.rows[rows], pick(batch.inputs), pick(batch.targets))


if __name__ == "__main__":
    main()
