"""Checkpoints: what resume needs, so written that a valid one exists at every moment.

A file is written under a temporary name, flushed, fsynced, and renamed to a name that holds its checksum; then the folder is
fsynced. Older ones are removed only after that. A file whose content does not match its name is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from graftwork.errors import RunFailed
from graftwork.files.atomic import write_file
from graftwork.log import say

_NAME = re.compile(r"(step|best)-(\d{9})\.([0-9a-f]{32})\.safetensors")
KEEP = 2


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name and plain JSON beside them."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        folder: `checkpoints/` of the run directory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save_best(self, epoch: int, tensors: Mapping[str, Tensor]) -> str:
        """Write the best weights so far; the file's name, for the checkpoint to refer to."""
        return self._write("best", epoch, tensors, {})

    def save(self, step: int, tensors: Mapping[str, Tensor], meta: dict[str, Any]) -> Path:
        """Write a checkpoint, then remove those that are no longer needed.

        Args:
            step: optimizer steps done.
            tensors: model, optimizer and average.
            meta: plain JSON; `best_file` names the best weights that belong to it.
        """
        name = self._write("step", step, tensors, meta)
        self._prune()
        return self.folder / name

    def load(self) -> Checkpoint | None:
        """The newest valid checkpoint; None when there has never been one.

        Raises:
            RunFailed: there are checkpoints, and every one is damaged.
        """
        found = self._files("step")
        for name in found:
            checkpoint = self._read(name)
            if checkpoint is None:
                continue
            best = checkpoint.meta.get("best_file")
            if best and self._read(best) is None:
                continue
            return checkpoint
        if found:
            hint = "Delete the folder to train from the beginning"
            raise RunFailed("every checkpoint is damaged", where=str(self.folder), hint=hint)
        return None

    def load_best(self, name: str) -> dict[str, Tensor]:
        """The best weights by their file's name.

        Raises:
            RunFailed: the file is missing or damaged.
        """
        checkpoint = self._read(name)
        if checkpoint is None:
            raise RunFailed("the best weights are missing or damaged", where=str(self.folder / name))
        return checkpoint.tensors

    def clear(self) -> None:
        """Remove everything, after a run has succeeded."""
        for path in self.folder.glob("*.safetensors"):
            path.unlink()
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _write(self, kind: str, number: int, tensors: Mapping[str, Tensor], meta: dict[str, Any]) -> str:
        host = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        data = save_tensors(host, {"meta": json.dumps(meta)})
        name = f"{kind}-{number:09d}.{hashlib.sha256(data).hexdigest()[:32]}.safetensors"
        self.folder.mkdir(parents=True, exist_ok=True)
        write_file(self.folder / name, data)
        return name

    def _read(self, name: str) -> Checkpoint | None:
        match = _NAME.fullmatch(name)
        path = self.folder / name
        if not match or not path.is_file():
            return None
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest()[:32] != match[3]:
            say(f"{path} is damaged (its checksum does not match): using the one before")
            return None
        try:
            length = int.from_bytes(data[:8], "little")
            header = json.loads(data[8 : 8 + length])
            return Checkpoint(load_tensors(data), json.loads(header["__metadata__"]["meta"]))
        except (SafetensorError, ValueError, KeyError) as error:
            say(f"{path} cannot be read ({error}): using the one before")
            return None

    def _files(self, kind: str) -> list[str]:
        """Names of one kind, newest first."""
        if not self.folder.is_dir():
            return []
        matches = [match for path in self.folder.iterdir() if (match := _NAME.fullmatch(path.name))]
        matches.sort(key=lambda match: int(match[2]), reverse=True)
        return [match[0] for match in matches if match[1] == kind]

    def _prune(self) -> None:
        keep = self._files("step")[:KEEP]
        for name in self._files("step")[KEEP:]:
            (self.folder / name).unlink()
        wanted = {self._peek(name).get("best_file") for name in keep}
        for name in self._files("best"):
            if name not in wanted:
                (self.folder / name).unlink()
        for left_over in self.folder.glob(".*.tmp"):
            left_over.unlink()

    def _peek(self, name: str) -> dict[str, Any]:
        """A checkpoint's JSON without its tensors; nothing where it is damaged, for that must not stop the next one."""
        path = self.folder / name
        with path.open("rb") as file:
            length = min(int.from_bytes(file.read(8), "little"), path.stat().st_size)
            try:
                meta: dict[str, Any] = json.loads(json.loads(file.read(length))["__metadata__"]["meta"])
            except (ValueError, KeyError, TypeError):
                return {}
        return meta
