"""What the engine is told: plain values, already resolved. Where they came from is `config`'s business."""

from __future__ import annotations

from dataclasses import dataclass

from graftwork.config import RunConfig


@dataclass(frozen=True)
class FitSettings:
    """Settings of one fit; names and meanings as in RunConfig."""

    batch_size: int
    batch_units: int | None
    bucketing: bool
    optimizer: str
    momentum: float
    grad_clip: float
    ema: float
    patience: int
    budget: float | None
    balanced: bool
    seed: int
    workers: int
    micro_batch: int | None
    checkpoint_seconds: float
    checkpoint_steps: int | None

    @staticmethod
    def of(config: RunConfig, workers: int) -> FitSettings:
        """From a resolved configuration, with what was decided by asking the machine."""
        return FitSettings(
            batch_size=config.batch_size,
            batch_units=config.batch_units,
            bucketing=config.bucketing,
            optimizer=config.optimizer,
            momentum=config.momentum,
            grad_clip=config.grad_clip,
            ema=config.ema,
            patience=config.patience,
            budget=config.budget,
            balanced=config.imbalance == "sampler",
            seed=config.seed,
            workers=workers,
            micro_batch=config.micro_batch,
            checkpoint_seconds=config.checkpoint_seconds,
            checkpoint_steps=config.checkpoint_steps,
        )
