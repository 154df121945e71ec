"""Whether the unknown colours of a mask are mixtures of known ones: a mask that was resized or saved with loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FEWEST = 8
"""Unknown colours; fewer are named one by one."""

NEAR = 16.0
"""Levels of 255, the largest distance of a mixture from the line between two known colours."""

SHARE = 0.8
"""Of the pixels of unknown colour that must be mixtures."""

_MOST = 400  # unknown colours that are looked at, the most frequent


def is_smoothed(unknown: NDArray[np.int64], counts: NDArray[np.int64], mapped: NDArray[np.int64]) -> bool:
    """Whether most pixels of unknown colour lie near a known colour or between two of them.

    Args:
        unknown: colours of the mask that the label map does not have, red · 65,536 + green · 256 + blue, int64 [colours].
        counts: their pixels, int64 [colours].
        mapped: the label map's colours. Between 150 of them lies every colour, so only those count of which something is
            left in the mask.
    """
    if len(unknown) < FEWEST or not len(mapped):
        return False
    frequent = np.argsort(-counts, kind="stable")[:_MOST]
    points, weights = _levels(unknown[frequent]), counts[frequent]
    ends = _levels(mapped)
    ends = ends[(np.linalg.norm(points[:, None] - ends, axis=2) <= NEAR).any(axis=0)]
    near = np.zeros(len(points), dtype=bool)
    for start in ends:
        along = ends - start  # [ends, 3]
        length = np.maximum((along * along).sum(axis=1), 1e-9)
        share = np.clip((points - start) @ along.T / length, 0, 1)  # [points, ends]
        away = points[:, None] - start - share[..., None] * along
        near |= (np.linalg.norm(away, axis=2) <= NEAR).any(axis=1)
    return bool(weights[near].sum() >= SHARE * weights.sum())


def _levels(colours: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1).astype(np.float64)
