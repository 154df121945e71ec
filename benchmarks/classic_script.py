"""The transfer-learning script that everybody copies: the baseline that `graft train` is measured against.

It follows the recipe of PyTorch's transfer-learning tutorial (ResNet-18, the last layer replaced, SGD, batches of four,
fp32), written afresh and complete in this one file: no part of graftwork is used. Nothing is tuned and nothing is slowed
down. Only what a measurement needs was added: a seed, a starting state dict from a file, and figures as JSON. With
`--frozen` it is the tutorial's second half, the network as a fixed feature extractor: only the last layer is trained.

    python benchmarks/classic_script.py --data photos/ --epochs 25
    python benchmarks/classic_script.py --data photos/ --epochs 10 --frozen --batch-size 32
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

TRANSFORMS = {
    "train": transforms.Compose(
        [
            transforms.RandomResizedCrop(224),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    ),
    "val": transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    ),
}


def folders(data: Path) -> dict[str, datasets.ImageFolder]:
    """The image folders `train` and `val` (or `validation`)."""
    validation = data / "val" if (data / "val").is_dir() else data / "validation"
    return {
        "train": datasets.ImageFolder(str(data / "train"), TRANSFORMS["train"]),
        "val": datasets.ImageFolder(str(validation), TRANSFORMS["val"]),
    }


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict in torchvision's key names, without the classifier, which is replaced anyway."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(str(path))
    else:
        state = torch.load(path, weights_only=True)
    return {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}


def train_model(
    model: nn.Module, sets: dict[str, datasets.ImageFolder], epochs: int, batch_size: int, workers: int, lr: float
) -> list[dict[str, Any]]:
    """Train, validate after every epoch, leave the best weights in the model; one record an epoch."""
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    model.to(device)
    loaders = {
        phase: DataLoader(images, batch_size=batch_size, shuffle=True, num_workers=workers)
        for phase, images in sets.items()
    }
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr, momentum=0.9)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    records: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        best_file = Path(folder) / "best.pt"
        torch.save(model.state_dict(), best_file)
        best = 0.0
        for epoch in range(epochs):
            record: dict[str, Any] = {"epoch": epoch + 1}
            for phase in ("train", "val"):
                began = time.perf_counter()
                model.train(phase == "train")
                loss_sum, right = 0.0, 0
                for inputs, labels in loaders[phase]:
                    inputs, labels = inputs.to(device), labels.to(device)
                    optimizer.zero_grad()
                    with torch.set_grad_enabled(phase == "train"):
                        outputs = model(inputs)
                        predicted = outputs.argmax(dim=1)
                        loss = criterion(outputs, labels)
                        if phase == "train":
                            loss.backward()
                            optimizer.step()
                    loss_sum += loss.item() * inputs.size(0)
                    right += int((predicted == labels).sum())
                if phase == "train":
                    scheduler.step()
                rows = len(sets[phase])
                record[f"{phase}_loss"] = loss_sum / rows
                record[f"{phase}_accuracy"] = right / rows
                record[f"{phase}_seconds"] = time.perf_counter() - began
            if record["val_accuracy"] > best:
                best = record["val_accuracy"]
                torch.save(model.state_dict(), best_file)
            records.append(record)
            print(
                f"epoch {epoch + 1}/{epochs}: train loss {record['train_loss']:.4f} accuracy "
                f"{record['train_accuracy']:.4f}, val loss {record['val_loss']:.4f} accuracy "
                f"{record['val_accuracy']:.4f}, {record['train_seconds']:.1f} + {record['val_seconds']:.1f} s",
                flush=True,
            )
        model.load_state_dict(torch.load(best_file, weights_only=True))
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="image folders train/ and val/ (or validation/)")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--weights", default="imagenet", help="imagenet (a download), a state dict's FILE, or none")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--workers", type=int, default=4, help="loader processes")
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--frozen", action="store_true", help="train the last layer only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()

    torch.manual_seed(given.seed)
    sets = folders(given.data)
    model = models.resnet18(weights="IMAGENET1K_V1" if given.weights == "imagenet" else None)
    if given.weights not in ("imagenet", "none"):
        left_out = model.load_state_dict(read_weights(Path(given.weights)), strict=False)
        if left_out.unexpected_keys or set(left_out.missing_keys) - {"fc.weight", "fc.bias"}:
            parser.error(f"--weights {given.weights} does not fit ResNet-18: {left_out}")
    if given.frozen:
        for parameter in model.parameters():
            parameter.requires_grad = False
    model.fc = nn.Linear(model.fc.in_features, len(sets["train"].classes))

    began = time.perf_counter()
    records = train_model(model, sets, given.epochs, given.batch_size, given.workers, given.lr)
    fit_seconds = time.perf_counter() - began
    best = max(records, key=lambda record: record["val_accuracy"])
    print(f"trained in {fit_seconds:.1f} s; best val accuracy {best['val_accuracy']:.4f} in epoch {best['epoch']}")
    if given.json:
        train_seconds = sum(record["train_seconds"] for record in records)
        figures = {
            "fit_seconds": fit_seconds,
            "train_seconds": train_seconds,
            "samples_per_second": len(sets["train"]) * given.epochs / train_seconds,
            "val_accuracy": best["val_accuracy"],
            "best_epoch": best["epoch"],
            "epochs": records,
            "settings": f"batches of {given.batch_size}, SGD {given.lr} / StepLR, fp32, contiguous, "
            f"{given.workers} loader processes",
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
