"""Seeds as pure functions: the same purpose, seed and position give the same random numbers, always.

No generator state is ever stored: a resumed run asks for the position it is at.
"""

from __future__ import annotations

_MASK = (1 << 64) - 1

ORDER, ROW, BATCH, STEP, INIT, SPLIT, LIMIT, MIX, VIEW, TERM, STREAM, ITEM = range(12)
"""Purposes, so that the order of an epoch and the augmentation of row 0 do not share a stream."""


def derive(purpose: int, seed: int, *position: int) -> int:
    """A 63-bit seed for a purpose at a position, mixed with splitmix64 (Steele, Lea, Flood 2014)."""
    value = seed & _MASK
    for part in (purpose, *position):
        value = (value + 0x9E3779B97F4A7C15 * (part + 1)) & _MASK
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
        value ^= value >> 31
    return value >> 1
