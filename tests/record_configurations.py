"""The runs that tests/record.py records: tiny, offline, and together through every strategy, head and way to keep states.

Nothing of graftwork is imported: a run is the words that follow `graft train`.
"""

from __future__ import annotations

import json
import lzma
import shutil
from dataclasses import dataclass
from pathlib import Path

ARTIFACTS = Path(__file__).parent / "artifacts"
COMMON = "--device cpu --precision fp32 --compile off --seed 1"
"""In every run; fixed, so that nothing is decided by measuring the machine. Every run also has --workers."""


@dataclass(frozen=True)
class Configuration:
    """One run: `{NAME}` in its words is the run directory of an earlier one, `{inputs}` the folder of written data.

    Args:
        words: after `graft train`, without `--out`; none where `model` is given.
        model: a trained model that is there already: what little training cannot show, such as objects that are found.
        cache_of: an earlier run whose kept states this one finds.
        killed: whether it is killed with SIGKILL at its first checkpoint, then resumed.
        predict: inputs of `graft predict --json` after the run.
        evaluate: words after `graft evaluate RUN --json` after the run.
    """

    name: str
    words: str = ""
    model: str = ""
    cache_of: str = ""
    killed: bool = False
    predict: tuple[str, ...] = ()
    evaluate: str = ""

    def needs(self) -> set[str]:
        """Names of the runs that come before this one."""
        return {
            other.name for other in CONFIGURATIONS if other.name == self.cache_of or f"{{{other.name}}}" in self.words
        }


_DIGITS = "--task image-classification --data sample:digits --workers 0 --batch-size 20 --limit-train 80"
_SHAPES = "--task image-classification --data {inputs}/shapes --backbone graftnet-s --workers 0 --batch-size 8"
_TEXTS = "--task text-classification --data sample:messages --backbone graftext-s --workers 0 --batch-size 21 --limit-train 84"
_BOXES = (
    "--task detection --data sample:digit-scenes --workers 0 --batch-size 8 --limit-train 16 --set task_options.size=64"
)
_MASKS = "--task segmentation --data sample:digit-masks --workers 0 --batch-size 8 --limit-train 16 --set task_options.size=64"
_TINY_BERT = json.dumps(
    {"model_type": "bert", "vocab_size": 4096, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
     "intermediate_size": 64},
    separators=(",", ":"),
)  # fmt: skip
_BERT = f"--backbone transformers --set backbone_options.config={_TINY_BERT} --set backbone_options.length=64"
_PICTURES = ("{inputs}/new/0.png", "{inputs}/new/1.png")

CONFIGURATIONS = (
    Configuration(
        "images-linear-probe-kept",
        f"{_DIGITS} --strategy linear-probe --cache auto --epochs 3 --lr 0.02",
        predict=_PICTURES,
        evaluate="--data sample:digits --split validation",
    ),
    Configuration(
        "images-linear-probe-found",
        f"{_DIGITS} --strategy linear-probe --cache auto --epochs 2 --lr 0.01 --patience 1 --head cosine",
        cache_of="images-linear-probe-kept",
    ),
    Configuration(
        "images-linear-probe-uncached", f"{_DIGITS} --strategy linear-probe --cache off --epochs 3 --lr 0.02"
    ),
    Configuration("images-partial-views-kept", f"{_DIGITS} --strategy partial:1 --views 2 --cache auto --epochs 3"),
    Configuration(
        "images-full-mixup-ema",
        f"{_DIGITS} --strategy full --weights none --epochs 2 --set task_options.mixup=0.2 --ema 0.9 "
        "--set head_options.dropout=0.2",
    ),
    Configuration(
        "images-layerwise-cutmix-sgd",
        f"{_DIGITS} --strategy layerwise --optimizer sgd --lr 0.01 --schedule constant --epochs 2 --head mlp "
        "--set task_options.cutmix=1.0 --set task_options.augment=strong --micro-batch 8",
    ),
    Configuration("images-gradual", f"{_DIGITS} --strategy gradual --epochs 5"),
    Configuration(
        "images-lp-ft-killed",
        f"{_DIGITS} --strategy lp-ft --epochs 3 --set checkpoint_steps=1 --ema 0.9 --set task_options.mixup=0.2",
        killed=True,
    ),
    Configuration(
        "images-l2-sp-workers",
        f"{_DIGITS} --workers 2 --strategy l2-sp --epochs 2 --patience 1 --lr 0.05 --set task_options.augment=trivial",
    ),
    Configuration("images-lora", f"{_SHAPES} --strategy lora --epochs 2 --set strategy_options.dropout=0.1"),
    Configuration("images-bitfit-weights", f"{_SHAPES} --strategy bitfit --imbalance weights --epochs 2"),
    Configuration("images-scratch-sampler", f"{_SHAPES} --strategy scratch --imbalance sampler --epochs 2"),
    Configuration(
        "images-focal-from-run",
        "--task image-classification --data {inputs}/shapes --backbone run:{images-lp-ft-killed} --workers 0 "
        "--batch-size 8 --strategy partial:1 --cache off --imbalance focal --epochs 2",
        predict=_PICTURES,
    ),
    Configuration(
        "texts-full-workers",
        f"{_TEXTS} --workers 2 --strategy full --weights none --epochs 2 --ema 0.9 --lr 0.001",
        predict=("where is my parcel?", "I want my money back"),
        evaluate="--data sample:messages --split validation",
    ),
    Configuration(
        "texts-linear-probe-from-run-kept",
        "--task text-classification --data sample:messages --backbone run:{texts-full-workers} --workers 0 "
        "--batch-size 21 --limit-train 84 --strategy linear-probe --views 1 --cache auto --epochs 3",
    ),
    Configuration("texts-lora-killed", f"{_TEXTS} --strategy lora --epochs 2 --set checkpoint_steps=1", killed=True),
    Configuration(
        "texts-attention-layerwise-tokens",
        f"{_TEXTS} {_BERT} --strategy layerwise --head attention --batch-tokens 400 --epochs 2 --lr 0.001",
    ),
    Configuration(
        "texts-multi",
        "--task text-classification --data {inputs}/multi.jsonl --workers 0 --set task_options.labels=multi "
        f"--strategy full --epochs 2 --batch-size 16 --lr 0.003 {_BERT}",
        predict=("thing 3 is red and tall",),
    ),
    Configuration(
        "texts-number-bitfit",
        "--task text-classification --data {inputs}/number.jsonl --workers 0 --set task_options.labels=number "
        f"--strategy bitfit --epochs 2 --batch-size 16 {_BERT}",
        predict=("thing 3 is red and tall",),
    ),
    Configuration(
        "boxes-retinanet-full",
        f"{_BOXES} --strategy full --head retinanet --set head_options.width=64 --epochs 2 --lr 0.003",
        predict=_PICTURES,
        evaluate="--data sample:digit-scenes --split validation",
    ),
    Configuration(
        "boxes-faster-rcnn-killed",
        f"{_BOXES} --strategy lp-ft --head faster-rcnn --set head_options.width=32 --set head_options.hidden=32 "
        "--set head_options.proposals=30 --set head_options.rpn_samples=64 --set head_options.roi_samples=32 "
        "--epochs 2 --set checkpoint_steps=1 --ema 0.9",
        killed=True,
    ),
    Configuration(
        "boxes-fcos-partial-kept",
        f"{_BOXES} --strategy partial:1 --views 1 --cache auto --head fcos --set head_options.width=64 --epochs 2",
    ),
    Configuration(
        "boxes-ssdlite-from-run",
        f"{_BOXES} --backbone run:{{images-lp-ft-killed}} --strategy linear-probe --head ssdlite "
        "--set head_options.width=32 --epochs 2 --cache off",
    ),
    Configuration(
        "masks-fpn-full",
        f"{_MASKS} --strategy full --head fpn --set head_options.width=16 --epochs 2 --lr 0.003",
        predict=_PICTURES,
        evaluate="--data sample:digit-masks --split validation",
    ),
    Configuration(
        "masks-fcn-views-kept",
        f"{_MASKS} --strategy linear-probe --views 2 --cache auto --head fcn --epochs 2 --imbalance sampler",
    ),
    Configuration(
        "masks-lraspp-scratch",
        f"{_MASKS} --strategy scratch --head lraspp --set head_options.width=32 --epochs 2 --imbalance focal "
        "--backbone squeezenet1_1",
    ),
    Configuration(
        "masks-deeplabv3-workers",
        f"{_MASKS} --workers 2 --strategy l2-sp --head deeplabv3 --set head_options.width=16 --set head_options.loss=dice "
        "--epochs 2 --imbalance none",
    ),
    Configuration(
        "boxes-trained-before",
        model="{inputs}/models/detection",
        predict=("{inputs}/models/detection/input-0.png", "{inputs}/models/detection/input-1.png"),
        evaluate="--data sample:digit-scenes --split validation",
    ),
    Configuration(
        "masks-trained-before",
        model="{inputs}/models/segmentation",
        predict=("{inputs}/models/segmentation/input-0.png", "{inputs}/models/segmentation/input-1.png"),
        evaluate="--data sample:digit-masks --split validation",
    ),
)


def write_inputs(folder: Path) -> None:
    """The data of runs that have no sample, and the pictures that are predicted: the same bytes every time."""
    for split, counts in {"train": (14, 7, 3), "validation": (4, 4, 4), "test": (4, 4, 4)}.items():
        for kind, count in enumerate(counts):
            for number in range(count):
                _write_picture(folder / "shapes" / split / f"kind-{kind}" / f"{number}.png", kind, number, len(split))
    for kept in (ARTIFACTS / "0.1.0").iterdir():
        model = Path(shutil.copytree(kept, folder / "models" / kept.name))
        packed = model / "model.safetensors.xz"
        packed.with_suffix("").write_bytes(lzma.decompress(packed.read_bytes()))
    for number in (0, 1):
        _write_picture(folder / "new" / f"{number}.png", number, number, 0)
    words = ("red", "green", "blue", "round", "flat", "tall")
    multi, numbers = [], []
    for number in range(96):
        chosen = [word for bit, word in enumerate(words) if (number * 7 + 3) >> bit & 1]
        text = f"thing {number} is {' and '.join(chosen)}"
        multi.append(json.dumps({"text": text, "label": chosen}))
        numbers.append(json.dumps({"text": text, "label": len(chosen) + 0.5}))
    (folder / "multi.jsonl").write_text("\n".join(multi), encoding="utf-8")
    (folder / "number.jsonl").write_text("\n".join(numbers), encoding="utf-8")


def _write_picture(path: Path, kind: int, number: int, salt: int) -> None:
    """Stripes, rings or a slope, 48×40 pixels, each picture a little other than the rest."""
    import numpy as np
    from PIL import Image

    y, x = np.mgrid[0:40, 0:48]
    drawn = ((x + y * (salt % 3)) % 8, ((x - 24) ** 2 + (y - 20) ** 2) // 40 % 8, (x + 2 * y) // 16)[kind]
    noise = (x * 31 + y * 17 + number * 101 + salt * 57) % 13
    pixels = np.stack([drawn * 24 + noise, drawn * 12 + number * 9, 200 - drawn * 16 - noise], axis=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
