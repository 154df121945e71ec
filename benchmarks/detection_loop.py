"""The detection script that everybody copies from torchvision's references: the baseline for `graft train --task detection`.

Torchvision's RetinaNet on SqueezeNet's maps with a feature pyramid, Pascal VOC annotations, pictures decoded by Pillow, a
mirror as only augmentation, GeneralizedRCNNTransform for sizes and normalisation, float32, one process: complete in this
one file, no part of graftwork is used. Nothing is tuned and nothing is slowed down. Only what a measurement needs was
added: AdamW and a schedule as graft has them, a seed, and figures as JSON.

    python benchmarks/detection_loop.py --data DATA/bccd --weights squeezenet1_0.safetensors --epochs 2
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
from PIL import Image
from safetensors.torch import load_file
from torch.utils.data import DataLoader, Dataset
from torchvision import models, tv_tensors
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from torchvision.transforms import v2


class Voc(Dataset):  # type: ignore[type-arg]
    """Pictures and boxes of a split of a Pascal VOC folder."""

    def __init__(self, root: Path, split: str, classes: list[str], transforms: Any) -> None:
        self.root = root
        self.names = (root / "ImageSets" / "Main" / f"{split}.txt").read_text(encoding="utf-8").split()
        self.classes = classes
        self.transforms = transforms

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Any:
        name = self.names[index]
        image = Image.open(self.root / "JPEGImages" / f"{name}.jpg").convert("RGB")
        boxes, labels = [], []
        for found in ElementTree.parse(self.root / "Annotations" / f"{name}.xml").iter("object"):
            corners = [float(found.findtext(f"bndbox/{side}") or 0) for side in ("xmin", "ymin", "xmax", "ymax")]
            if corners[2] > corners[0] and corners[3] > corners[1]:
                boxes.append(corners)
                labels.append(self.classes.index(str(found.findtext("name"))))
        target = {
            "boxes": tv_tensors.BoundingBoxes(
                torch.tensor(boxes).reshape(-1, 4), format="XYXY", canvas_size=(image.height, image.width)
            ),
            "labels": torch.tensor(labels, dtype=torch.int64),
        }
        return self.transforms(image, target)


def collate(batch: list[Any]) -> tuple[Any, ...]:
    """Pictures and targets as two tuples."""
    return tuple(zip(*batch, strict=True))


def build(weights: Path, classes: int, size: int) -> RetinaNet:
    """RetinaNet as torchvision has it, on SqueezeNet's maps of strides 8 and 16."""
    net = models.squeezenet1_0(weights=None)
    net.load_state_dict(load_file(weights))
    body = IntermediateLayerGetter(net.features, {"10": "0", "12": "1"})
    backbone = BackboneWithFPN(net.features, {"10": "0", "12": "1"}, [512, 512], 256, LastLevelP6P7(256, 256))
    backbone.body = body
    anchors = models.detection.retinanet.AnchorGenerator(
        tuple((s, int(s * 2 ** (1 / 3)), int(s * 2 ** (2 / 3))) for s in (32, 64, 128, 256)), ((0.5, 1.0, 2.0),) * 4
    )
    return RetinaNet(backbone, classes, min_size=size, max_size=round(size * 5 / 3), anchor_generator=anchors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a Pascal VOC folder with ImageSets/Main/train.txt")
    parser.add_argument("--weights", type=Path, required=True, help="SqueezeNet's, under torchvision's key names")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--warmup", type=float, default=0.1, help="share of the steps")
    parser.add_argument("--size", type=int, default=320, help="pixels, the shorter side")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    given = parser.parse_args()

    torch.manual_seed(given.seed)
    names = {str(e.text) for f in (given.data / "Annotations").glob("*.xml") for e in ElementTree.parse(f).iter("name")}
    classes = sorted(names)
    transforms = v2.Compose([v2.RandomHorizontalFlip(), v2.PILToTensor(), v2.ToDtype(torch.float, scale=True)])
    rows = Voc(given.data, "train", classes, transforms)
    loader = DataLoader(rows, given.batch_size, shuffle=True, num_workers=given.workers, collate_fn=collate)
    model = build(given.weights, len(classes), given.size).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=given.lr, weight_decay=0.01)
    steps: int = given.epochs * len(loader)
    rising: int = max(1, round(given.warmup * steps))

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    lines = []
    for epoch in range(given.epochs):
        began, total, seen = time.perf_counter(), 0.0, 0
        for pictures, targets in loader:
            losses = model(list(pictures), list(targets))
            loss = sum(losses.values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(pictures)
            seen += len(pictures)
        seconds = time.perf_counter() - began
        lines.append(
            {"epoch": epoch + 1, "loss": total / seen, "seconds": seconds, "samples_per_second": seen / seconds}
        )
        print(lines[-1], flush=True)
    if given.json:
        given.json.write_text(json.dumps({"epochs": lines, "steps": steps, "train_rows": len(rows)}), encoding="utf-8")


if __name__ == "__main__":
    main()
