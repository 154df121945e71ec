"""Turns a finished run into the weights file that ships with graftwork: `python tools/embed_source_weights.py RUN FILE`.

Keeps the backbone and leaves the head of the source task out; prints what registry.yaml must say.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from safetensors.torch import load_file, save_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    tensors = load_file(arguments.run / "model.safetensors")
    backbone = {
        name.removeprefix("backbone."): value for name, value in tensors.items() if name.startswith("backbone.")
    }
    save_file(backbone, arguments.file, {"format": "pt"})
    data = arguments.file.read_bytes()
    print(f"size: {len(data)}, sha256: {hashlib.sha256(data).hexdigest()}")  # noqa: T201


if __name__ == "__main__":
    main()
