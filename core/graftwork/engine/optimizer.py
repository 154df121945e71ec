"""Parameter groups, optimizers and learning-rate schedules. A schedule is a function of the step: nothing to restore."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer

from graftwork.engine.terms import check_terms
from graftwork.errors import PluginError
from graftwork.interfaces import Group, Model, Phase, Plan


def check_plan(plan: Plan, model: Model) -> None:
    """Hold a strategy's plan against the model before anything is trained.

    Raises:
        PluginError: no phase, a phase without epochs or with stages that the backbone does not have, a group without
            parameters, an unknown parameter, a parameter in two groups or twice in one, one name with two sets of
            parameters, a group inside the frozen stages, or terms that do not fit (`check_terms`).
        UsageError: a term needs a feature that the backbone does not provide.
    """
    stages = len(model.backbone.stages())
    seen: dict[str, tuple[str, ...]] = {}
    owner: dict[str, str] = {}
    if not plan.phases:
        raise PluginError(f"strategy {plan.strategy!r} planned no phase")
    if not any(phase.head_loss for phase in plan.phases):
        raise PluginError(f"strategy {plan.strategy!r} planned no phase that can be evaluated")
    for phase in plan.phases:
        named = f"phase {phase.name!r} of strategy {plan.strategy!r}"
        if phase.epochs < 1:
            raise PluginError(f"{named} lasts {phase.epochs} epochs")
        if not 0 <= phase.frozen_stages <= stages:
            raise PluginError(f"{named} freezes {phase.frozen_stages} of {stages} stages")
        if not phase.groups and phase.solver is None:
            raise PluginError(f"{named} trains nothing")
        _check_form(phase, named)
        for group in phase.groups:
            if seen.setdefault(group.name, group.parameters) != group.parameters:
                raise PluginError(f"group {group.name!r} of {named} has other parameters than in an earlier phase")
            _check_group(group, f"group {group.name!r} of {named}", model, phase.frozen_stages, owner)
        check_terms(phase, named, model)


def _check_form(phase: Phase, named: str) -> None:
    """What must go together in a phase whatever the model."""
    names = [stream.name for stream in phase.streams]
    if not names or len({*names}) < len(names):
        raise PluginError(f"{named} has no stream" if not names else f"{named} has two streams of one name")
    if phase.streams[0].split != "train":
        raise PluginError(f"{named} counts its steps by {names[0]!r}, which holds no training rows")
    if phase.evaluate_every < 1:
        raise PluginError(f"{named} is evaluated every {phase.evaluate_every} epochs")
    if phase.solver is not None and (phase.epochs != 1 or not phase.head_loss or phase.groups):
        raise PluginError(f"{named} is solved: it lasts one epoch, with the head's loss, and steps nothing")


def _check_group(group: Group, where: str, model: Model, frozen_stages: int, owner: dict[str, str]) -> None:
    """`owner` names the group that holds a parameter already."""
    known = dict(model.named_parameters())
    frozen = {id(p) for stage in model.backbone.stages()[:frozen_stages] for p in stage.parameters()}
    if not group.parameters:
        raise PluginError(f"{where} has no parameters")
    for name in group.parameters:
        if name not in known:
            raise PluginError(f"{where} names {name!r}, which the model does not have")
        if owner.setdefault(name, group.name) != group.name:
            raise PluginError(f"{where} and group {owner[name]!r} both hold {name!r}")
        if group.parameters.count(name) > 1:
            raise PluginError(f"{where} holds {name!r} twice")
        if id(known[name]) in frozen:
            raise PluginError(f"{where} holds {name!r}, which lies in a frozen stage")


def build_optimizer(plan: Plan, model: Model, name: str, momentum: float) -> Optimizer:
    """One optimizer with every group that any phase trains, so that no group is ever lost or added on the way.

    Groups that have the same rate and decay in every phase are one of the optimizer's: it takes a kernel each, and a net of
    many stages has many groups.
    """
    parameters = dict(model.named_parameters())
    alike: dict[tuple[tuple[float, float] | None, ...], dict[str, Any]] = {}
    positions = itertools.count()
    for group in {group.name: group for phase in plan.phases for group in phase.groups}.values():
        entry = alike.setdefault(
            tuple(_rates_in(phase, group.name) for phase in plan.phases),
            {"params": [], "lr": 0.0, "weight_decay": group.weight_decay, "name": group.name, "positions": []},
        )
        entry["params"] += [parameters[name] for name in group.parameters]
        entry["positions"] += itertools.islice(positions, len(group.parameters))
    # The head is solved where there is no group.
    described = [*alike.values()] or [
        {"params": [], "lr": 0.0, "weight_decay": 0.0, "name": "nothing", "positions": []}
    ]
    device = next(iter(parameters.values())).device.type
    fused = device in ("cpu", "cuda", "mps")
    if name == "sgd":
        return SGD(described, lr=0.0, momentum=momentum, nesterov=momentum > 0, fused=fused)
    return AdamW(described, lr=0.0, betas=(momentum, 0.999), fused=fused)


def _rates_in(phase: Phase, name: str) -> tuple[float, float] | None:
    """Rate multiplier and weight decay of a group in a phase; None where it is not trained."""
    return next(((group.lr_multiplier, group.weight_decay) for group in phase.groups if group.name == name), None)


def enter_phase(model: Model, phase: Phase) -> None:
    """Freeze what the phase freezes, thaw what it trains, and nothing else; its terms add to the loss."""
    trained = {name for group in phase.groups for name in group.parameters}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
        parameter.grad = None
    model.enter(phase.terms)
    model.frozen_statistics = phase.frozen_statistics
    model.head_loss = phase.head_loss
    model.freeze(phase.frozen_stages)


def learning_rate(phase: Phase, step: int, steps: int) -> float:
    """The rate of a group with multiplier 1 at a step of the phase (0 to steps - 1).

    Linear warm-up, then constant or half a cosine to zero (Loshchilov and Hutter 2017, without restarts).
    """
    warm = int(phase.warmup * steps)
    if step < warm:
        return phase.lr * (step + 1) / (warm + 1)
    if phase.schedule == "constant":
        return phase.lr
    progress = (step - warm) / max(1, steps - warm)
    return phase.lr * 0.5 * (1.0 + math.cos(math.pi * progress))


def set_rates(optimizer: Optimizer, phase: Phase, lr: float) -> None:
    """Give each group its rate and weight decay of this phase; groups that the phase does not train get zero."""
    current = {group.name: group for group in phase.groups}
    for entry in optimizer.param_groups:
        group = current.get(entry["name"])
        entry["lr"] = lr * group.lr_multiplier if group else 0.0
        entry["weight_decay"] = group.weight_decay if group else 0.0


def optimizer_tensors(optimizer: Optimizer, model: Model) -> dict[str, Tensor]:
    """The optimizer's state as flat tensors, `NAME-OF-PARAMETER/KEY`."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        f"{names[id(parameter)]}/{key}": value
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: Optimizer, model: Model, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave, on the parameters' devices."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    states: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, kind = key.rpartition("/")
        states.setdefault(name, {})[kind] = value
    packed = optimizer.state_dict()
    ordered = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    packed["state"] = {
        index: states[names[id(parameter)]] for index, parameter in enumerate(ordered) if names[id(parameter)] in states
    }
    optimizer.load_state_dict(packed)
    for parameter, state in optimizer.state.items():
        for kind, value in state.items():
            # Files hold plain layout. Fused kernels walk parameter and momenta in memory order: layouts must agree again.
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[kind] = torch.empty_like(parameter).copy_(value)


def clip_gradients(optimizer: Optimizer, largest: float) -> Tensor:
    """Scale all gradients together so that their norm is at most `largest`; 0 leaves them alone. The norm before that."""
    placed = [
        pair for entry in optimizer.param_groups for pair in zip(entry["positions"], entry["params"], strict=True)
    ]
    placed.sort(
        key=itemgetter(0)
    )  # in the plan's order, whichever groups are one: a sum in another one rounds otherwise
    parameters = [parameter for _, parameter in placed if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    # A CPU need not be waited for: where nothing is to be clipped it is spared a product of all gradients with 1.
    if largest > 0 and not (norm.device.type == "cpu" and norm <= largest):
        torch.nn.utils.clip_grads_with_norm_(parameters, largest, norm)
    return norm
