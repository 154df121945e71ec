"""Makes the artifacts of the version that is installed: a small trained model of each task, inputs, and what is predicted.

    python tests/artifacts/make.py tests/artifacts/VERSION

How and why: README.md beside this. Nothing of graftwork is imported; models come from the command.
"""

from __future__ import annotations

import json
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file

REPOSITORY = Path(__file__).parents[2]
DENSE = REPOSITORY / "plugins/graftwork_images/weights/graftnet-s-cifar10.safetensors"
SPARSE = "sparse.safetensors"
KEPT = 8_000
"""Weights of each convolution that are not made zero."""

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "GRAFTWORK_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
COMMON = "--device cpu --precision fp32 --compile off --cache off --workers 0 --seed 1 --out run"
# bitfit trains biases and the head, so that what is zero in the backbone stays zero and the file packs well.
_PICTURES = f"--backbone graftnet-s --weights {SPARSE} --strategy bitfit"
_TINY_BERT = json.dumps(
    {"model_type": "bert", "vocab_size": 4096, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
     "intermediate_size": 32, "max_position_embeddings": 64},
    separators=(",", ":"),
)  # fmt: skip
RUNS = {
    "image-classification": f"{_PICTURES} --data sample:digits --epochs 12 --lr 0.01",
    "text-classification": "--backbone transformers --data sample:messages --strategy full --weights none --epochs 25 "
    f"--lr 0.01 --set backbone_options.config={_TINY_BERT} --set backbone_options.length=64",
    "detection": f"{_PICTURES} --data sample:digit-scenes --head ssdlite --set head_options.width=32 --epochs 16 --lr 0.01 "
    "--set head_options.score_threshold=0.15 --set task_options.size=96",
    "segmentation": f"{_PICTURES} --data sample:digit-masks --head fpn --set head_options.width=16 --epochs 10 --lr 0.01 "
    "--set task_options.size=96",
}
TEXTS = ("where is my parcel?", "I want my money back for the lamp", "please cancel order 1234", "مرحبا 👋")


def make(target: Path, tasks: list[str]) -> None:
    """Make the artifact of each task in `target`/TASK."""
    for task in tasks:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_sparse(folder / SPARSE)
            print(graft(["train", "--task", task, *RUNS[task].split(), *COMMON.split()], folder))  # noqa: T201
            place = target / task
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / "run" / "model.json", place)
            (place / "model.safetensors.xz").write_bytes(
                lzma.compress((folder / "run" / "model.safetensors").read_bytes(), preset=9 | lzma.PRESET_EXTREME)
            )
            write_inputs(place, task)
            inputs = TEXTS if task == "text-classification" else sorted(path.name for path in place.glob("input-*.png"))
            # Relative to the inputs, so that the predictions name no folder.
            said = graft(["predict", str(folder / "run"), *inputs, "--json", "--device", "cpu", "--out", "."], place)
            (place / "predictions.json").write_text(said, encoding="utf-8")


def graft(words: list[str], folder: Path) -> str:
    """Run the command in a folder, without kept states; what it printed."""
    line = [sys.executable, str(Path(__file__).with_name("graft_in_fp32.py")), *words]
    return subprocess.run(
        line, cwd=folder, env={**os.environ, **ENVIRONMENT}, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def write_sparse(path: Path) -> None:
    """GraftNet-S with only the largest weights of each convolution, as numbers of 16 bits."""
    tensors = {}
    for name, value in load_file(DENSE).items():
        if value.ndim == 4:
            bound = np.sort(np.abs(value), axis=None)[-min(KEPT, value.size)]
            value = np.where(np.abs(value) >= bound, value, 0).astype(np.float32)
            value = (value.view(np.uint32) & 0xFFFF0000).view(np.float32)
        tensors[name] = value
    save_file(tensors, path, {"format": "pt"})


def write_inputs(folder: Path, task: str) -> None:
    """Digits, alone or on a grey ground, as PNG; none for texts."""
    from sklearn.datasets import load_digits

    digits = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    if task == "image-classification":
        for number in range(4):
            Image.fromarray(digits[100 + number]).save(folder / f"input-{number}.png")
    elif task != "text-classification":
        for number, shape in enumerate(((96, 128), (128, 96))):
            picture = Image.new("L", shape[::-1], 60)
            for place in range(3):
                side = 26 + 6 * place
                digit = Image.fromarray(digits[200 + 10 * number + place]).resize(
                    (side, side), Image.Resampling.BILINEAR
                )
                picture.paste(digit, (6 + 30 * place, 8 + 24 * place), digit)
            picture.convert("RGB").save(folder / f"input-{number}.png")


if __name__ == "__main__":
    make(Path(sys.argv[1]).resolve(), sys.argv[2:] or list(RUNS))
