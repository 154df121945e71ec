"""Resume bugs that real projects shipped, planted on purpose: each must be caught by the resume tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def sampler_restarted() -> None:
    """The resumed process numbers its epochs from zero again, so that it draws the first epoch's order."""
    from graftwork.data.sampler import Sampler

    order = Sampler.order
    Sampler.order = lambda self, epoch: order(self, 0)  # type: ignore[method-assign]


def position_in_epoch_forgotten() -> None:
    """The epoch that was cut short starts at its first batch again."""
    from graftwork.data.sampler import Sampler

    epoch = Sampler.epoch

    def from_the_start(self: Any, number: int, first: int = 0) -> Any:
        batches = list(epoch(self, number, 0))
        return iter(batches[: self.batches - first])

    Sampler.epoch = from_the_start  # type: ignore[method-assign]


def random_state_not_restored() -> None:
    """Dropout draws what a fresh process would draw, whatever step it is at."""
    from graftwork.engine import step

    step.derive = lambda purpose, seed, number, *rest: number % 3  # type: ignore[assignment]


def augmentation_not_restored() -> None:
    """A row's augmentation depends on the process instead of (seed, epoch, row)."""
    from graftwork.data import loader

    loader.derive = lambda *parts: 12345  # type: ignore[assignment]


def schedule_one_step_off() -> None:
    """The learning rate is that of the step after."""
    from graftwork.engine import fit

    rate = fit.learning_rate
    fit.learning_rate = lambda phase, step, steps: rate(phase, step + 1, steps)  # type: ignore[assignment]


def phase_forgotten() -> None:
    """The resumed process believes that it is in the first phase until the epoch ends."""
    from graftwork.engine.fit import Fit

    enter = Fit._enter
    calls: list[int] = []

    def first_phase(self: Any, phase: Any, at_start: bool) -> Any:
        calls.append(1)
        return enter(self, self.plan.phases[0] if len(calls) == 1 else phase, at_start)

    Fit._enter = first_phase  # type: ignore[method-assign]


def average_lost() -> None:
    """The moving average of weights starts again from the weights of the moment."""
    from graftwork.engine.ema import Ema

    def restore(self: Any, tensors: Any) -> None:
        self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    Ema.restore = restore  # type: ignore[method-assign]


def optimizer_state_lost() -> None:
    """Momenta start at zero again."""
    from graftwork.engine import resumable

    resumable.restore_optimizer = lambda optimizer, model, tensors: None  # type: ignore[assignment]


def best_forgotten() -> None:
    """The resumed process does not remember the best epoch before it."""
    from graftwork.engine.fit import Fit

    restore = Fit._restore

    def forget(self: Any) -> None:
        restore(self)
        self.progress.best_value = None

    Fit._restore = forget  # type: ignore[method-assign]


PLANTED: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (
        sampler_restarted,
        position_in_epoch_forgotten,
        random_state_not_restored,
        augmentation_not_restored,
        schedule_one_step_off,
        phase_forgotten,
        average_lost,
        optimizer_state_lost,
        best_forgotten,
    )
}
