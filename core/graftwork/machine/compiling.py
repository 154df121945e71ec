"""Compiles a backbone stage by stage, in place: names, prefixes, suffixes and freezing stay as they are."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

import torch
from torch import nn

from graftwork.errors import UsageError
from graftwork.interfaces import Backbone

GRAPHS = 256
"""Variants of one function that may be compiled: stages share their code, and each is compiled for itself, in training and
in evaluation. Torch's own limit of 8 would leave the rest uncompiled silently."""


HOPED = 0.15
"""Share of a step that compiling saves where it goes well: what a run must be long enough for before it is tried."""

EXPECTED_SECONDS = {"cpu": 120.0, "cuda": 60.0}
"""What compiling a backbone takes, before it has been tried; measured with resnet18 and a six-layer encoder on two cores."""

PAYS = 3.0
"""How many times what compiling takes it must bring before it is worth the while: a resumed run compiles again."""

FASTER = 0.95
"""What part of an eager step a compiled one may take at most: less is within what two measurements differ by."""


@dataclass(frozen=True)
class Tried:
    """Seconds: of a step as it is, of a compiled one, and what compiling took."""

    eager: float
    compiled: float
    compiling: float


def worth_trying(steps: int, step_seconds: float, kind: str) -> bool:
    """Whether a run of so many steps could win back a trial of compiling on this kind of device."""
    expected = EXPECTED_SECONDS.get(kind)
    return expected is not None and steps * step_seconds * HOPED >= PAYS * expected


def verdict(tried: Tried, steps: int) -> tuple[str, str]:
    """`on` or `off`, with the reason, from what was measured."""
    saved = (tried.eager - tried.compiled) * steps
    measured = (
        f"a step takes {tried.compiled * 1e3:.3g} ms compiled and {tried.eager * 1e3:.3g} ms as it is; "
        f"compiling took {tried.compiling:.0f} s"
    )
    pays = tried.compiled <= FASTER * tried.eager and saved >= PAYS * tried.compiling
    return ("on" if pays else "off"), f"{measured}, {saved:.0f} s would be saved over {steps} steps"


def why_not() -> str | None:
    """What compiling lacks on this machine, or None."""
    if not torch.cuda.is_available() and not any(shutil.which(name) for name in compilers()):
        return f"there is no C++ compiler ({', '.join(compilers())})"
    return None


def compilers() -> tuple[str, ...]:
    """C++ compilers that torch looks for."""
    own = os.environ.get("CXX")
    return (own,) if own else ("g++", "clang++")


def check_can_compile() -> None:
    """Hold a request to compile against this machine.

    Raises:
        UsageError: something is missing.
    """
    lacking = why_not()
    if lacking is not None:
        raise UsageError(
            f"stages cannot be compiled: {lacking}", hint="Install g++, or leave --compile out; see graft doctor"
        )


def compile_stages(backbone: Backbone) -> int:
    """Compile what is called of each stage; returns how many modules that is.

    A stage that is a mere container, whose children are called one by one, has its children compiled. Sizes are left open
    (`dynamic`), so that rows of several sizes and a smaller last batch run the same code, in a resumed run as in the first.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, GRAPHS)
    torch._dynamo.config.accumulated_recompile_limit = max(torch._dynamo.config.accumulated_recompile_limit, GRAPHS * 4)
    units = [unit for stage in backbone.stages() for unit in _called(stage)]
    for unit in units:
        unit.compile(dynamic=True)
    return len(units)


def leave_uncompiled(backbone: Backbone) -> None:
    """Undo `compile_stages`."""
    for module in backbone.modules():
        module._compiled_call_impl = None
    torch._dynamo.reset()


def _called(module: nn.Module) -> list[nn.Module]:
    """The module itself where it can be called, or what of its children can."""
    if type(module).forward is not nn.Module.forward and not isinstance(module, nn.ModuleList | nn.ModuleDict):
        return [module]
    return [unit for child in module.children() for unit in _called(child)]
