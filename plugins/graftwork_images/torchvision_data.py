"""`torchvision:NAME[:ROOT]`: classification data sets that torchvision downloads, as rows."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.catalogue import offline
from graftwork.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    from datasets import Dataset

_TRAIN_TEST: Mapping[str, Mapping[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
_BY_NAME: Mapping[str, Mapping[str, Any]] = {"train": {"split": "train"}, "test": {"split": "test"}}
_THREE: Mapping[str, Mapping[str, Any]] = {
    "train": {"split": "train"},
    "validation": {"split": "val"},
    "test": {"split": "test"},
}

SETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "CIFAR10": _TRAIN_TEST,
    "CIFAR100": _TRAIN_TEST,
    "Caltech101": {"train": {}},
    "Country211": {"train": {"split": "train"}, "validation": {"split": "valid"}, "test": {"split": "test"}},
    "DTD": _THREE,
    "EuroSAT": {"train": {}},
    "FGVCAircraft": _THREE,
    "FashionMNIST": _TRAIN_TEST,
    "Flowers102": _THREE,
    "Food101": _BY_NAME,
    "GTSRB": _BY_NAME,
    "KMNIST": _TRAIN_TEST,
    "MNIST": _TRAIN_TEST,
    "OxfordIIITPet": {"train": {"split": "trainval"}, "test": {"split": "test"}},
    "STL10": _BY_NAME,
    "SVHN": _BY_NAME,
    "StanfordCars": _BY_NAME,
    "USPS": _TRAIN_TEST,
}
"""Constructor arguments by split; `train` alone where torchvision has no splits."""

ROOT_VARIABLE = "GRAFTWORK_TORCHVISION_ROOT"
"""The environment variable that says where these data sets lie, or are downloaded to."""


def open_torchvision(name: str, root: str | None = None) -> dict[str, Dataset]:
    """The splits of a torchvision data set: `image` (encoded, not decoded), `label`, `origin`.

    Args:
        name: the class's name in torchvision.datasets, in any case.
        root: where it lies or is downloaded to; else $GRAFTWORK_TORCHVISION_ROOT, else torch's own cache.

    Raises:
        UsageError: no such data set.
        DataError: it is not there and cannot be downloaded.
    """
    by_lower = {known.lower(): known for known in SETS}
    if name.lower() not in by_lower:
        raise UsageError(f"unknown torchvision data set {name!r}", hint=did_you_mean(name, list(SETS)))
    known = by_lower[name.lower()]
    folder = _root(root)
    return {split: _open_split(known, folder, split, arguments) for split, arguments in SETS[known].items()}


def _root(given: str | None) -> Path:
    text = given or os.environ.get(ROOT_VARIABLE)
    if text:
        return Path(text).expanduser()
    import torch

    return Path(torch.hub.get_dir()).parent / "torchvision-datasets"


def _open_split(name: str, root: Path, split: str, arguments: Mapping[str, Any]) -> Dataset:
    from datasets import ClassLabel, Dataset, Features, Image, Value
    from torchvision import datasets as sets

    here_only = offline("HF_DATASETS_OFFLINE")
    try:
        root.mkdir(parents=True, exist_ok=True)
        source = getattr(sets, name)(root=str(root), download=not here_only, **arguments)
    except Exception as error:  # a library boundary: URL, archive, checksum and layout errors of many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        hint = f"Put its files under {root}, or name their folder: torchvision:{name}:FOLDER"
        if here_only:
            reason = "the network is forbidden, and its files are not there or damaged"
        raise DataError(f"cannot be downloaded or read ({reason})", where=f"torchvision:{name}", hint=hint) from None
    names = [str(label) for label in getattr(source, "classes", ())]
    features = Features(
        {
            "image": Image(decode=False),
            "label": ClassLabel(names=names) if names else Value("int64"),
            "origin": Value("string"),
        }
    )
    listed = _files_and_labels(source)
    if listed is not None:
        files, labels = listed
        origins = [_relative(Path(file), root) for file in files]
        return Dataset.from_dict(
            {"image": [str(f) for f in files], "label": labels, "origin": origins}, features=features
        )
    return Dataset.from_list(list(_encoded(source, f"{name} {split}")), features=features)


def _files_and_labels(source: Any) -> tuple[list[Any], list[int]] | None:
    """Files on disk that need not be encoded again, by the names under which torchvision keeps them."""
    for name in ("samples", "_samples"):
        pairs = getattr(source, name, None)
        if isinstance(pairs, list):
            return [file for file, _ in pairs], [int(label) for _, label in pairs]
    for name in ("_image_files", "_images"):
        files = getattr(source, name, None)
        labels = getattr(source, "_labels", None)
        if isinstance(files, list) and labels is not None and len(files) == len(labels):
            return files, [int(label) for label in labels]
    return None


def _encoded(source: Any, name: str) -> Iterator[dict[str, Any]]:
    """Rows of a set that lies in arrays, as PNG, which loses nothing."""
    for row in range(len(source)):
        image, label = source[row]
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=1)
        yield {
            "image": {"bytes": buffer.getvalue(), "path": None},
            "label": int(label),
            "origin": f"{name} row {row + 1}",
        }


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
