"""What is fitted on, and the batches of a phase: a sampler for each of its streams, the batches of a step loaded ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from graftwork.data.loader import load_batches
from graftwork.data.sampler import BatchSpec, Sampler
from graftwork.data.seeds import STREAM, derive
from graftwork.data.splits import UNLABELLED
from graftwork.data.streams import BatchSource, ItemSampler
from graftwork.engine.settings import FitSettings
from graftwork.errors import UsageError
from graftwork.interfaces import Batch, Examples, Metrics, Model, Phase, Stream
from graftwork.machine.device import Device
from graftwork.states.fill import ready
from graftwork.states.phases import PhaseData
from graftwork.states.views import in_view


@dataclass(frozen=True)
class FitData:
    """What is fitted on and what chooses the best epoch.

    Args:
        train: training rows, augmented.
        validation: validation rows.
        strata: gives the class index of each training row; asked only where classes are balanced or items are drawn.
        metrics: gives fresh metrics.
        primary_metric: the validation metric to choose by; higher is better.
        unlabelled: rows without labels, augmented.
    """

    train: Examples
    validation: Examples
    strata: Callable[[], Sequence[int]]
    metrics: Callable[[], Metrics]
    primary_metric: str
    unlabelled: Examples | None = None


def sampler_of(data: FitData, settings: FitSettings, device: Device) -> Sampler:
    """The batches of the one labelled stream that is the default."""
    return Sampler(
        len(data.train),
        settings.batch_size,
        settings.seed,
        tuple(data.strata()) if settings.balanced else None,
        device.rank,
        device.world,
        data.train.sizes() if settings.bucketing or settings.batch_units else None,
        settings.batch_units,
    )


class PhaseBatches:
    """The batches of a phase's steps, one of each stream.

    Args:
        phase, index: of the plan.
        data, settings, device: of the fit.

    Raises:
        UsageError: a stream of rows without labels where the data has none.
    """

    def __init__(self, phase: Phase, index: int, data: FitData, settings: FitSettings, device: Device) -> None:
        self.data = data
        self.settings = settings
        self.device = device
        self._streams = phase.streams
        # The usual stream's random numbers depend on no phase, so that phases go on where the one before ended.
        self._seeds = [
            settings.seed if stream == Stream() else derive(STREAM, settings.seed, index, number)
            for number, stream in enumerate(phase.streams)
        ]
        self._sources = [self._source(stream, seed) for stream, seed in zip(self._streams, self._seeds, strict=True)]

    @property
    def steps(self) -> int:
        """Optimizer steps in an epoch: the batches of the first stream."""
        return self._sources[0].batches

    def specs(self, epoch: int, first: int) -> Iterator[BatchSpec]:
        """The rows of the first stream's batches of an epoch, from number `first` on."""
        return self._sources[0].epoch(epoch, first)

    def load(self, rows: PhaseData, epoch: int, batch: int, first_epoch: int, last_epoch: int) -> Any:
        """What each step's batches are made of, as `ready` takes it, from a position to the end of an epoch; loaded ahead
        across the epochs between."""
        done = (epoch - first_epoch) * self.steps + batch
        loaders = [self._load_main(rows, epoch, batch, last_epoch)]
        loaders += [self._load_beside(number, done) for number in range(1, len(self._streams))]
        return _side_by_side(loaders)

    def ready(self, loaded: Sequence[Any], rows: PhaseData, model: Model) -> list[Batch]:
        """The batches of a step, on the device, as the model takes them."""
        found = []
        for stream, one in zip(self._streams, loaded, strict=True):
            batch = ready(one, rows.train if stream.split != UNLABELLED else self._rows(stream), model, self.device)
            if stream != Stream():
                unit = stream.items.unit if stream.items else 1
                batch = replace(batch, stream=stream.name, unit=unit)
            found.append(batch)
        return found

    def _rows(self, stream: Stream) -> Examples:
        if stream.split != UNLABELLED:
            return self.data.train
        if self.data.unlabelled is None:
            what = f"stream {stream.name!r} needs rows without labels, and the data has no split {UNLABELLED}"
            raise UsageError(what, hint="Give such rows, or use another --strategy")
        return self.data.unlabelled

    def _source(self, stream: Stream, seed: int) -> BatchSource:
        device, settings, rows = self.device, self.settings, self._rows(stream)
        size = stream.batch_size or settings.batch_size
        if stream.items is not None:
            strata = self.data.strata() if stream.split != UNLABELLED else [0] * len(rows)
            return ItemSampler(stream.items, strata, size, seed, device.rank, device.world)
        if stream == Stream():
            return sampler_of(self.data, settings, device)
        sizes = rows.sizes() if settings.bucketing else None
        return Sampler(len(rows), size, seed, None, device.rank, device.world, sizes)

    def _load_main(self, rows: PhaseData, epoch: int, batch: int, last_epoch: int) -> Iterator[Any]:
        count = len(self.data.train)

        def specs() -> Iterator[BatchSpec]:
            for number in range(epoch, last_epoch + 1):
                for spec in self._sources[0].epoch(number, batch if number == epoch else 0):
                    yield in_view(spec, rows.views, count)

        return load_batches(rows.train, specs(), self._seeds[0], self._workers(rows.train), self.device.pins)

    def _load_beside(self, number: int, done: int) -> Iterator[Any]:
        """A further stream, from the batch on that follows `done` steps of the phase; it goes round without end."""
        source, rows = self._sources[number], self._rows(self._streams[number])

        def specs() -> Iterator[BatchSpec]:
            epoch, first = divmod(done, source.batches)
            while True:
                yield from source.epoch(epoch, first)
                epoch, first = epoch + 1, 0

        return load_batches(rows, specs(), self._seeds[number], self._workers(rows), self.device.pins)

    def _workers(self, rows: Examples) -> int:
        return 0 if rows.cheap else self.settings.workers


def _side_by_side(loaders: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    try:
        yield from zip(*loaders, strict=False)  # the first one ends
    finally:
        for loader in loaders:
            loader.close()
