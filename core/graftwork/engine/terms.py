"""The terms of a plan around a fit: held against the model, started, kept in checkpoints; and batches that they keep whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from graftwork.data.seeds import TERM, derive
from graftwork.engine.settings import FitSettings
from graftwork.errors import PluginError, UsageError
from graftwork.interfaces import Model, Phase, Plan, Term
from graftwork.interfaces.extractor import Extractor
from graftwork.log import say


def check_terms(phase: Phase, where: str, model: Model) -> None:
    """Hold a phase's terms, and the groups that hold their parameters, against the model.

    Raises:
        PluginError: what is no Term, a term twice, or a group with parameters of a term that the phase does not have.
        UsageError: a term needs a feature that the backbone does not provide.
    """
    for term in phase.terms:
        if not isinstance(term, Term):
            raise PluginError(f"{where} has a {type(term).__name__} among its terms, which is no Term")
        if sum(other is term for other in phase.terms) > 1:
            raise PluginError(f"{where} has the term {name_of(term)!r} twice")
        missing = Extractor(model.backbone, term.needs).lacking
        if missing:
            raise UsageError(
                f"{where}: the term {name_of(term)!r} needs {', '.join(missing)}, the backbone provides "
                f"{', '.join(sorted(model.backbone.provides))} and has {len(model.backbone.stages())} stages",
                hint="Use another backbone or another strategy",
            )
    _check_streams(phase, where)
    trained = {name for group in phase.groups for name in group.parameters}
    for index, part in enumerate(model.terms):
        absent = not any(part is term for term in phase.terms)
        strangers = [name for name in sorted(trained) if absent and name.startswith(f"terms.{index}.")]
        if strangers:
            raise PluginError(
                f"{where} trains {strangers[0]!r} of a term that it does not have: no gradient reaches it"
            )


def _check_streams(phase: Phase, where: str) -> None:
    """Whether somebody learns from each stream, and each term has one.

    Raises:
        PluginError: it is not so.
    """
    streams = [stream.name for stream in phase.streams]
    seen = {term.stream for term in phase.terms}
    for term in phase.terms:
        if term.stream not in streams:
            raise PluginError(
                f"{where}: the term {name_of(term)!r} sees the stream {term.stream!r}, which the phase lacks"
            )
    learned = streams[1:] if phase.head_loss else streams
    unused = [name for name in learned if name not in seen]
    if unused:
        raise PluginError(f"{where} learns nothing from its stream {unused[0]!r}: neither the head nor a term sees it")


def start_terms(plan: Plan, model: Model, seed: int) -> None:
    """Make a plan's terms modules of the model where they are not yet, and let each look at the starting weights.

    Done before a trial takes steps, and again when a fit begins.

    Raises:
        PluginError: a term takes a part of the model for its own.
    """
    device = next(model.parameters()).device
    for term in plan.terms:
        if not any(term is other for other in model.terms):
            model.terms.append(term.to(device))
    theirs = {id(tensor) for part in (model.backbone, model.head) for tensor in (*part.parameters(), *part.buffers())}
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        for index, term in enumerate(plan.terms):
            torch.manual_seed(derive(TERM, seed, 0, index))
            term.start(model)
            if any(id(tensor) in theirs for tensor in (*term.parameters(), *term.buffers())):
                raise PluginError(
                    f"the term {name_of(term)!r} has the model, or a part of it, as a module of its own",
                    hint="Keep a copy (copy.deepcopy), or the module itself in a tuple",
                )


def term_tensors(model: Model) -> dict[str, Tensor]:
    """The state of every term as flat tensors, `NUMBER/NAME`."""
    return {
        f"{index}/{name}": value
        for index, term in enumerate(model.terms)
        for name, value in term.state().items()  # type: ignore[operator]
    }


def restore_terms(model: Model, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `term_tensors` gave."""
    for index, term in enumerate(model.terms):
        prefix = f"{index}/"
        term.restore(  # type: ignore[operator]
            {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        )


def coupling(terms: Iterable[Term]) -> str:
    """The terms that couple the rows of a batch, in words; empty where there is none."""
    names = list(dict.fromkeys(repr(name_of(term)) for term in terms if term.couples_rows))
    if not names:
        return ""
    return f"the term {names[0]} couples" if len(names) == 1 else f"the terms {' and '.join(names)} couple"


def tell_of_pieces(plan: Plan, settings: FitSettings, world: int) -> None:
    """Say so where the user has batches split whose rows a term couples: over processes, or into micro-batches."""
    coupled = coupling(plan.terms)
    share = -(-settings.batch_size // world)
    seen = min(share, settings.micro_batch or share)
    if coupled and seen < settings.batch_size:
        say(f"{coupled} the rows of a batch: of its {settings.batch_size} it sees {seen} at a time, as set")


def name_of(term: Term) -> str:
    """What a term is called in messages."""
    return str(term.describe().get("name", type(term).__name__))
