"""What all conformance classes share: exceptions with a reason, the catalogue, faults in words, comparing tensors."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from graftwork.catalogue import Catalogue, load_catalogue
from graftwork.catalogue.installed import SELECTION


class Conformance:
    """A class of checks to subclass. A check that cannot hold is named in `exceptions` with the reason, and skipped with it."""

    exceptions: ClassVar[Mapping[str, str]] = {}
    """Name of a test method to the reason why it does not apply."""

    about: ClassVar[str] = ""
    """What it is about, for a report: `backbone my-net`."""

    def catalogue(self) -> Catalogue:
        """Where names are looked up: what is installed."""
        return _installed_catalogue(tuple(sys.path), os.environ.get(SELECTION))

    @pytest.fixture(autouse=True)
    def _prepared(self, request: pytest.FixtureRequest) -> Iterator[None]:
        name = getattr(request.node, "originalname", None) or request.node.name
        reason = self.exceptions.get(name)
        if reason:
            pytest.skip(reason)
        torch.manual_seed(0)
        # A check must not suffer from what another one has found a plugin to leave behind.
        dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
        yield
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)


@lru_cache(maxsize=4)
def _installed_catalogue(path: tuple[str, ...], selection: str | None) -> Catalogue:
    return load_catalogue()


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Say what raised: `predicting raises KeyError: 'x'`, with the exception as the cause."""
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise AssertionError(f"{what} raises {type(error).__name__}: {said}") from error


def leaves(value: Any, name: str = "") -> dict[str, Tensor]:
    """Every tensor in nested dicts and lists, by its place: `3.boxes`."""
    if isinstance(value, Tensor):
        return {name: value}
    if isinstance(value, Mapping):
        parts = value.items()
    elif isinstance(value, list | tuple):
        parts = ((str(index), inner) for index, inner in enumerate(value))  # type: ignore[assignment]
    else:
        raise AssertionError(f"{name or 'the value'} is a {type(value).__name__}, and not a tensor")
    found: dict[str, Tensor] = {}
    for key, inner in parts:
        found |= leaves(inner, f"{name}.{key}" if name else str(key))
    return found


def copied(value: Any) -> Any:
    """The same nested dicts and lists with tensors of their own."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {key: copied(inner) for key, inner in value.items()}
    return [copied(inner) for inner in value]


def same(found: Any, expected: Any, where: str) -> None:
    """Bit for bit, names and shapes included; `where` is the end of the sentence that names the fault."""
    ours, theirs = leaves(found), leaves(expected)
    assert set(ours) == set(theirs), f"{where}: other names, {sorted(ours)} in place of {sorted(theirs)}"
    for name, tensor in theirs.items():
        assert ours[name].shape == tensor.shape, f"{where}: {name} has the shape {tuple(ours[name].shape)}"
        assert _equal(ours[name], tensor), f"{where}: {name} differs by up to {difference(ours[name], tensor):.3g}"


def close(found: Any, expected: Any, where: str, tolerance: float = 1e-3) -> None:
    """Up to rounding: by `tolerance` at most, relative to the largest value where that is above 1."""
    ours, theirs = leaves(found), leaves(expected)
    assert set(ours) == set(theirs), f"{where}: other names, {sorted(ours)} in place of {sorted(theirs)}"
    for name, tensor in theirs.items():
        assert ours[name].shape == tensor.shape, f"{where}: {name} has the shape {tuple(ours[name].shape)}"
        largest = difference(ours[name], tensor)
        assert largest <= tolerance, f"{where}: {name} differs by {largest:.3g} of its largest value"


def difference(one: Tensor, other: Tensor) -> float:
    """The largest difference, relative to the largest finite value where that is above 1; infinite values must be equal."""
    if not one.numel():
        return 0.0
    one, other = one.detach().double(), other.detach().double()
    gap = (one - other).abs().masked_fill((one == other) | (one.isnan() & other.isnan()), 0.0).nan_to_num(nan=torch.inf)
    size = max(1.0, float(other.abs().nan_to_num(nan=0.0, posinf=0.0).max()))
    return float(gap.max()) / size


def _equal(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype:
        return False
    if one.is_floating_point():
        return bool(((one == other) | (one.isnan() & other.isnan())).all())
    return torch.equal(one, other)


def accelerator() -> torch.device:
    """The accelerator of this machine; skips the check where there is none."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if device is None:
        pytest.skip("this machine has no accelerator")
    return device
