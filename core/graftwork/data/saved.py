"""Folders that `Dataset.save_to_disk` and `DatasetDict.save_to_disk` of Hugging Face's datasets wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.data.splits import canonical_split
from graftwork.errors import DataError
from graftwork.interfaces.data import Finding

if TYPE_CHECKING:
    from datasets import Dataset


def _is_saved(folder: Path) -> bool:
    return (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()


def saved_splits(path: Path) -> tuple[dict[str, list[Path]], list[Finding]] | None:
    """The folder of every split, where a folder was saved so; None where it was not.

    Raises:
        DataError: it has several splits, none of which is one of ours.
    """
    if _is_saved(path):
        return {"train": [path]}, []
    if not (path / "dataset_dict.json").is_file():
        return None
    folders = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and _is_saved(folder)]
    if len(folders) == 1:
        return {canonical_split(folders[0].name) or "train": folders}, []
    found = {split: [folder] for folder in folders if (split := canonical_split(folder.name))}
    others = tuple(folder.name for folder in folders if canonical_split(folder.name) is None)
    if not found:
        told = ", ".join(others) or "none"
        raise DataError(f"has no split named train, validation or test; its splits: {told}", where=str(path))
    if not others:
        return found, []
    message = f"splits under other names, not used: {', '.join(others)}"
    return found, [Finding("unused-splits", "note", message, others, len(others))]


def saved_rows(folder: Path) -> Dataset:
    """The rows of one of them."""
    from datasets import Dataset

    return Dataset.load_from_disk(str(folder))
