"""One optimizer step: micro-batches, out-of-memory retries, normalisation, clipping."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from graftwork.data.seeds import STEP, TERM, derive
from graftwork.engine.optimizer import clip_gradients
from graftwork.engine.terms import coupling
from graftwork.errors import PluginError, RunFailed
from graftwork.interfaces import LABELLED, Batch, Model, Term
from graftwork.log import say
from graftwork.machine.device import Device
from graftwork.machine.memory import is_out_of_memory

GRADIENT = "\0gradient"
"""Stands beside the names of loss parts, and can be none of them."""


class Stepper:
    """Takes optimizer steps on a model.

    Args:
        model: the bare model.
        optimizer: over all of the plan's groups.
        device: where it runs.
        grad_clip: largest gradient norm; 0 is off.
        seed: of the run; dropout of step n is a function of (seed, n, process).
        micro_batch: rows a forward pass, or None for the whole batch. Only ever becomes smaller; where a term couples the
            rows of a batch it stays as set.
    """

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        device: Device,
        grad_clip: float,
        seed: int,
        micro_batch: int | None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.device = device
        self.grad_clip = grad_clip
        self.seed = seed
        self.micro_batch = self._set_micro_batch = micro_batch
        self.scaler: torch.amp.GradScaler | None = (
            torch.amp.GradScaler(device.torch_device.type) if device.precision == "fp16" else None
        )
        self._refused = ""
        self._pending: deque[_Watched] = deque()
        self._moving: tuple[int, list[Tensor]] | None = None

    def step(self, wrapped: Callable[..., Any], batches: Sequence[Batch], number: int) -> Tensor:
        """Run step `number` (from 1) and return this process's share of its loss, a detached scalar on the device.

        The retry stands outside the `except`, so that the failed attempt's tensors are gone; the optimizer's step stands
        outside the retry. Effective batch, rate and schedule are the same in as many pieces as it takes.

        Args:
            batches: one of each stream.

        Raises:
            RunFailed: a loss is not finite, not even one row (or item of rows) fits into memory, or a batch does not whose rows a
                term couples.
            PluginError: loss parts and their divisors do not go together.
        """
        counts = self.device.total(
            {part_of(batch, name): count for batch in batches for name, count in self.model.counts(batch).items()}
        )
        longest, unit = max(map(len, batches)), max(batch.unit for batch in batches)
        buffers = self._moving_buffers()
        saved = [torch.empty_like(buffer) for buffer in buffers]
        torch._foreach_copy_(saved, buffers) if buffers else None  # one kernel, where clones would take sixty
        while True:
            coupled = coupling(self.model.entered)
            size = (self._set_micro_batch if coupled else self.micro_batch) or longest
            taken = self._attempt(wrapped, batches, size, counts, number)
            if taken is not None:
                break
            self.optimizer.zero_grad(set_to_none=True)
            torch._foreach_copy_(buffers, saved) if buffers else None
            self.device.empty_cache()
            if size <= unit:
                what = "one row" if unit == 1 else f"one item of {unit} rows"
                raise RunFailed(
                    f"step {number}: not even {what} fits into memory ({self._refused})",
                    hint="Use a smaller input size or backbone, freeze more stages, or another device",
                )
            smaller = -(-min(size, longest) // 2)
            if coupled:
                raise RunFailed(
                    f"step {number}: out of memory with {size} rows, and {coupled} the rows of a batch: they are not split by "
                    "themselves",
                    hint=f"--micro-batch {smaller} lets it see so many at a time; or use a smaller --batch-size",
                )
            self.micro_batch = smaller
            say(f"step {number}: out of memory with {size} rows, going on with micro-batches of {self.micro_batch}")
        parts, sums = taken
        self._apply(number, parts)
        self._tell_terms(number, sums, counts)
        return torch.stack(list(parts.values())).sum()

    def _attempt(
        self,
        wrapped: Callable[..., Any],
        batches: Sequence[Batch],
        size: int,
        counts: Mapping[str, Tensor],
        number: int,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
        """Forward and backward of all micro-batches; see `_forward_backward`. None when memory ran out."""
        try:
            return self._forward_backward(wrapped, batches, size, counts, number)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._refused = str(error).splitlines()[0]
        if self.device.world > 1:  # the others are in the middle of adding up gradients, and cannot be told
            raise RunFailed(
                f"step {number}: process {self.device.rank} ran out of memory with {size} rows ({self._refused})",
                hint=f"With several processes a step is not split by itself: --micro-batch {max(1, size // 2)}",
            )
        return None

    def _forward_backward(
        self,
        wrapped: Callable[..., Any],
        batches: Sequence[Batch],
        size: int,
        counts: Mapping[str, Tensor],
        number: int,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The loss parts, and the sums that they were made of where a term wants to know them."""
        totals: dict[str, Tensor] = {}
        summed: dict[str, Tensor] = {}
        told = any(_listens(term) for term in self.model.entered)
        micro_batches = [micro for batch in batches for micro in batch.split(size)]
        for index, micro in enumerate(micro_batches):
            last = index == len(micro_batches) - 1
            self.device.seed(derive(STEP, self.seed, number, self.device.rank, index))
            with self.device.no_sync(wrapped, last):
                with self.device.autocast():
                    sums = {part_of(micro, name): value for name, value in wrapped(micro, "loss").items()}
                if not sums.keys() <= counts.keys():
                    raise PluginError(f"loss part {min(sums.keys() - counts.keys())!r} has no count to be divided by")
                parts = {name: value.float() / counts[name] for name, value in sums.items()}
                # Data-parallel wrappers average gradients over processes; these losses are shares of one mean.
                loss = torch.stack(list(parts.values())).sum() * self.device.world
                (self.scaler.scale(loss) if self.scaler else loss).backward()  # type: ignore[no-untyped-call]
            for name, value in parts.items():
                totals[name] = totals[name] + value.detach() if name in totals else value.detach()
            for name, value in sums.items() if told else ():
                summed[name] = summed[name] + value.detach().float() if name in summed else value.detach().float()
        return totals, summed

    def _tell_terms(self, number: int, sums: Mapping[str, Tensor], counts: Mapping[str, Tensor]) -> None:
        """Let the terms that want to know take in a step."""
        if not sums:
            return
        totals = self.device.total(sums)
        with torch.no_grad():
            for index, term in enumerate(self.model.entered):
                if _listens(term):
                    self.device.seed(derive(TERM, self.seed, number, index))
                    term.after(_as_seen_by(term, totals), _as_seen_by(term, counts))

    def _moving_buffers(self) -> list[Tensor]:
        """Buffers that a forward pass may move (BatchNorm statistics), to be put back before a retry."""
        stages = self.model.frozen_stages
        if (
            self._moving is None or self._moving[0] != stages
        ):  # to look through a deep net takes as long as a small step
            frozen = {id(tensor) for tensor in self.model.frozen_tensors(stages).values()}
            self._moving = stages, [buffer for buffer in self.model.buffers() if id(buffer) not in frozen]
        return self._moving[1]

    def _apply(self, number: int, parts: Mapping[str, Tensor]) -> None:
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
        norm = clip_gradients(self.optimizer, self.grad_clip)
        # fp16's scaler meets gradients that are not finite by design, and passes over their step.
        self._watch(number, parts, None if self.scaler else norm)
        if self.scaler:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _watch(self, number: int, parts: Mapping[str, Tensor], norm: Tensor | None) -> None:
        """Look for losses and gradients that are not finite.

        At once on the CPU, before a weight has changed; some steps later elsewhere, so as not to wait, and before
        anything is written (`settle`).
        """
        self._pending.append(_Watched(number, parts, norm))
        lag = 0 if self.device.torch_device.type == "cpu" else 8
        while len(self._pending) > lag:
            self._pending.popleft().check()

    def settle(self) -> None:
        """Look at every loss that has not been looked at; called before anything is written."""
        while self._pending:
            self._pending.popleft().check()


def part_of(batch: Batch, name: str) -> str:
    """What a loss part is called in a step: those of further streams bear the stream's name."""
    return name if batch.stream == LABELLED else f"{batch.stream}/{name}"


def _as_seen_by(term: Term, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Loss parts by name, those of the term's own stream as the term calls them."""
    own = f"{term.stream}/"
    return {**parts, **{name.removeprefix(own): value for name, value in parts.items() if name.startswith(own)}}


def _listens(term: Term) -> bool:
    return type(term).after is not Term.after


class _Watched:
    """The numbers of one step, on their way to the host.

    Copied when they are queued, so that to look at them later waits for their own step alone: to ask an accelerator for a
    value is to wait for everything that was queued before the question.
    """

    def __init__(self, number: int, parts: Mapping[str, Tensor], norm: Tensor | None) -> None:
        self.number = number
        self.names = [*parts, *(() if norm is None else (GRADIENT,))]
        values = torch.stack([value.float() for value in (*parts.values(), *(() if norm is None else (norm,)))])
        self.event: torch.cuda.Event | None = None
        if values.is_cuda:
            host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            values = host.copy_(values, non_blocking=True)
            self.event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self.event.record()
        self.values = values

    def check(self) -> None:
        """Raises RunFailed where one is not finite."""
        if self.event is not None:
            self.event.synchronize()
        hint = "The last good checkpoint is kept. Try a smaller --lr, --grad-clip 1, or --precision fp32"
        for name, value in zip(self.names, self.values.tolist(), strict=True):
            if math.isfinite(value):
                continue
            if name == GRADIENT:
                raise RunFailed(f"step {self.number}: the gradient is {value}, though the loss is finite", hint=hint)
            raise RunFailed(f"step {self.number}: loss part {name!r} is {value}", hint=hint)


@contextmanager
def own_random_state() -> Iterator[None]:
    """Steps reseed torch's global generators; give the caller's back afterwards."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        yield
