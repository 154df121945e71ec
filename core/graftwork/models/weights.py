"""Weights files: read, and fitted into a model. What fits and what does not is counted and named.

Knows no domain and no catalogue. Nothing read here is ever executed: safetensors hold only tensors, foreign `.pth` files
are read by PyTorch's restricted unpickler.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from graftwork.errors import UsageError
from graftwork.interfaces.backbone import Backbone
from graftwork.interfaces.head import Head
from graftwork.models.fetch import WAY_OUT, first_line

_PICKLES = (".pth", ".pt", ".bin")
_WRAPPERS = ("state_dict", "model")
_POINTER = b"version https://git-lfs.github.com/spec/"

# A file of the same architecture fits entirely, give or take a layer that was left out. Files of a sibling fit in large
# part (all of resnet18 fits into resnet34; ResNet-50 shares most tensors' shapes with it) and must still be refused.
_MOST_NOT_FITTED = 0.10
_MOST_UNEXPECTED = 0.25


def read_state(path: Path, *, trusted_hash: bool = False) -> dict[str, Tensor]:
    """The tensors of a weights file, on the CPU, by name.

    Args:
        path: `.safetensors`; or `.pth`, `.pt`, `.bin`: a state dict, alone or under `state_dict` or `model`.
        trusted_hash: whether the file's hash was verified. PyTorch's old pickle layout (before 1.6; some of torchvision's
            files) is read only then: its reader is the one in which the restricted unpickler was once escaped.

    Raises:
        UsageError: missing, damaged, of another kind, or holding something other than tensors. Nothing is executed.
    """
    if not path.is_file():
        raise UsageError("does not exist" if not path.exists() else "is not a file", where=str(path), hint=WAY_OUT)
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        return _read_safetensors(path)
    if suffix in _PICKLES:
        return _tensors(_read_pickle(path, trusted_hash), path)
    raise UsageError("is not a weights file", where=str(path), hint=f"Known: .safetensors, {', '.join(_PICKLES)}")


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_POINTER)) == _POINTER


def _pointer(path: Path) -> UsageError:
    hint = "Fetch it in its repository with git lfs pull, or download it anew"
    return UsageError("is a Git LFS pointer: the file itself was not downloaded", where=str(path), hint=hint)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, OverflowError) as error:
        with path.open("rb") as file:
            start = file.read(2)
        if _is_pointer(path):
            raise _pointer(path) from None
        what = f"is no valid safetensors file ({first_line(error)})"
        if start == b"PK" or start[:1] == b"\x80":
            what = "is a pickle under a safetensors name; it was not opened"
        raise UsageError(what, where=str(path), hint=WAY_OUT) from None


def _read_pickle(path: Path, trusted_hash: bool) -> Any:
    modern = zipfile.is_zipfile(path)
    if not modern and _is_pointer(path):
        raise _pointer(path)
    if not modern and not trusted_hash:
        raise UsageError(
            "is no PyTorch weights file of today's layout, and its hash is not known",
            where=str(path),
            hint="Save it again with a current PyTorch, or as .safetensors",
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=modern)
    except Exception as error:  # a hostile or damaged pickle fails in any way it likes
        what = f"is damaged or holds more than tensors, and was not loaded ({first_line(error)})"
        raise UsageError(what, where=str(path), hint="Save only the state dict, best as .safetensors") from None


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not content:
        raise UsageError("holds no state dict (names and tensors)", where=str(path))
    odd = [str(name) for name, value in content.items() if not isinstance(value, Tensor) or not isinstance(name, str)]
    if odd:
        raise UsageError(f"holds entries that are no tensors: {_some(odd)}", where=str(path))
    return dict(content)


@dataclass
class LoadReport:
    """What became of the tensors of a file.

    Args:
        fitted: tensors that were loaded.
        missing: ours that the file lacks; they keep the values they had.
        unexpected: the file's that we have no place for.
        reshaped: (name, our shape, their shape) of those that do not fit; ours keep the values they had.
        fresh: the head's tensors that start anew where others of the head were loaded.
    """

    fitted: int = 0
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    reshaped: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether everything fitted and nothing was left over."""
        return not (self.missing or self.unexpected or self.reshaped)

    def __str__(self) -> str:
        parts = [f"{self.fitted} tensors fitted"]
        if self.missing:
            parts.append(f"{len(self.missing)} missing: {_some(self.missing)}")
        if self.reshaped:
            shown = [
                f"{name} {_shape(ours)} here, {_shape(theirs)} in the file" for name, ours, theirs in self.reshaped
            ]
            parts.append(f"{len(self.reshaped)} of another shape: {_some(shown)}")
        if self.unexpected:
            parts.append(f"{len(self.unexpected)} without a place: {_some(self.unexpected)}")
        if self.fresh:
            parts.append(f"{len(self.fresh)} of the head start anew: {_some(self.fresh)}")
        return "; ".join(parts)


def load_backbone(backbone: Backbone, state: Mapping[str, Tensor], source_name: str) -> LoadReport:
    """Load all that fits, in place, and say what did not.

    Args:
        backbone: whose `translate` knows the upstream names.
        state: tensors by name, upstream's or the backbone's own.
        source_name: the file or reference, for the message.

    Raises:
        UsageError: weights of another architecture: more than a tenth of the backbone's tensors are missing or of
            another shape, or more than a quarter of the file's have no place; or values that are not finite. The backbone is
            unchanged then.
    """
    ours = backbone.state_dict()
    theirs = backbone.translate(state)
    report = LoadReport(unexpected=[name for name in theirs if name not in ours])
    fitting: dict[str, Tensor] = {}
    for name, tensor in ours.items():
        if name not in theirs:
            # BatchNorm's step counter: files from before PyTorch 0.4.1 lack it, and nothing here reads it.
            if not name.endswith("num_batches_tracked"):
                report.missing.append(name)
        elif tensor.shape != theirs[name].shape:
            report.reshaped.append((name, tuple(tensor.shape), tuple(theirs[name].shape)))
        else:
            fitting[name] = theirs[name]
    report.fitted = len(fitting)
    unfitted = len(report.missing) + len(report.reshaped)
    if unfitted > _MOST_NOT_FITTED * len(ours) or len(report.unexpected) > _MOST_UNEXPECTED * len(theirs):
        raise UsageError(f"these are weights of another architecture: {report}", where=source_name)
    weights = {name for name, _ in backbone.named_parameters()}  # a mask, which is a buffer, may hold infinity
    broken = [name for name, tensor in fitting.items() if _is_broken(tensor, name in weights)]
    if broken:
        what = f"{len(broken)} tensors of these weights hold NaN or infinity: {_some(broken)}"
        hint = "Download or save them anew; training cannot start from them"
        raise UsageError(what, where=source_name, hint=hint)
    with torch.no_grad():
        for name, tensor in fitting.items():
            ours[name].copy_(tensor)
    return report


def _is_broken(tensor: Tensor, weight: bool) -> bool:
    if not tensor.is_floating_point():
        return False
    return not bool(torch.isfinite(tensor).all()) if weight else bool(torch.isnan(tensor).any())


def load_head(head: Head, foreign: Mapping[str, Tensor], report: LoadReport) -> None:
    """Load what the head takes from another model, in place, and write down what became of it.

    Args:
        head: whose `translate` says what it takes; a head that takes nothing is left alone and not mentioned.
        foreign: tensors of an upstream model without its backbone, or of a head that graftwork trained.
        report: of the backbone that came from the same place; names of the head's tensors begin with `head.` there.
    """
    theirs = head.translate(foreign)
    if not theirs:
        return
    ours = head.state_dict()
    report.unexpected += [f"head.{name}" for name in theirs if name not in ours]
    with torch.no_grad():
        for name, tensor in ours.items():
            if name in theirs and tensor.shape == theirs[name].shape:
                tensor.copy_(theirs[name])
                report.fitted += 1
                continue
            if name in theirs:
                report.reshaped.append((f"head.{name}", tuple(tensor.shape), tuple(theirs[name].shape)))
            elif not name.endswith("num_batches_tracked"):
                report.fresh.append(f"head.{name}")


def tensors_sha256(state: Mapping[str, Tensor]) -> str:
    """A fingerprint of tensors (names, types, shapes, bytes), whatever their order, device and memory layout."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{len(name)}:{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"
