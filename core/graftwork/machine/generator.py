"""torch's random generator of the CPU: seeded, and given back as it was, at little cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def seed_cpu(seed: int) -> None:
    """Seed torch's CPU generator alone; `torch.manual_seed` would also queue work for every accelerator."""
    torch.default_generator.manual_seed(seed)


@contextmanager
def restoring_cpu_generator() -> Iterator[None]:
    """Leave torch's CPU generator as it was found."""
    state = torch.default_generator.get_state()
    try:
        yield
    finally:
        torch.default_generator.set_state(state)
