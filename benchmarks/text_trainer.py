"""The fine-tuning script that everybody writes with transformers: the baseline that `graft train` is measured against.

AutoModelForSequenceClassification from a local folder, Trainer with its defaults (batches of 8 in random order, AdamW at
5e-5 falling linearly, fp32, each batch padded to its longest row), complete in this one file: no part of graftwork is
used. Nothing is tuned and nothing is slowed down. Only what a measurement needs was added: a seed and figures as JSON.

`--tuned` is what somebody who knows the Trainer well would set: bf16, batches of 32 rows of like length at a rate to
match, the fused AdamW, a loader process that stays, evaluation in large batches, no checkpoints on the way.

    python benchmarks/text_trainer.py --data sst2/ --model all-MiniLM-L6-v2/ --epochs 3
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EvalPrediction,
    Trainer,
    TrainingArguments,
)


def read(file: Path) -> list[dict[str, str]]:
    """Rows of a table with the columns `text` and `label`; columns are separated by tabs, nothing is quoted."""
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def accuracy(found: EvalPrediction) -> dict[str, float]:
    """The share of rows whose largest logit is their label's."""
    return {"accuracy": float((np.argmax(found.predictions, axis=-1) == found.label_ids).mean())}


TUNED: dict[str, Any] = {
    "bf16": True,
    "use_cpu": not torch.cuda.is_available(),  # bf16 on a processor is refused without it
    "per_device_train_batch_size": 32,
    "per_device_eval_batch_size": 64,
    "learning_rate": 1e-4,
    "train_sampling_strategy": "group_by_length",
    "optim": "adamw_torch_fused",
    "torch_compile": False,
    "dataloader_num_workers": 1,
    "dataloader_persistent_workers": True,
    "save_strategy": "no",
    "report_to": "none",
}
"""Against the defaults: fp32, 8 rows in random order at 5e-5, a checkpoint every 500 steps."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.tsv and validation.tsv")
    parser.add_argument("--model", type=Path, required=True, help="config.json, model.safetensors, tokenizer.json")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--length", type=int, default=256, help="tokens at which a text is cut")
    parser.add_argument("--limit-train", type=int, help="only so many rows, the first")
    parser.add_argument("--tuned", action="store_true", help="bf16, batches of 32 of like length, …")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    given = parser.parse_args()

    began = time.perf_counter()
    rows = {"train": read(given.data / "train.tsv")[: given.limit_train], "val": read(given.data / "validation.tsv")}
    names = sorted({row["label"] for split in rows.values() for row in split})
    tokenizer = AutoTokenizer.from_pretrained(given.model)

    def prepare(split: str) -> Dataset:
        found = Dataset.from_list([{"text": row["text"], "label": names.index(row["label"])} for row in rows[split]])

        def tokens(batch: dict[str, Any]) -> dict[str, Any]:
            encoded: dict[str, Any] = dict(tokenizer(batch["text"], truncation=True, max_length=given.length))
            # With a column of lengths the Trainer need not tokenise all rows once more to group them.
            return encoded | ({"length": [len(row) for row in encoded["input_ids"]]} if given.tuned else {})

        return found.map(tokens, batched=True, remove_columns=["text"])

    model = AutoModelForSequenceClassification.from_pretrained(given.model, num_labels=len(names))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder, num_train_epochs=given.epochs, seed=given.seed, **(TUNED if given.tuned else {})
            ),
            train_dataset=prepare("train"),
            eval_dataset=prepare("val"),
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=accuracy,
        )
        fitted = trainer.train()
        measured = trainer.evaluate()
    figures: dict[str, Any] = {
        "samples_per_second": len(rows["train"]) * given.epochs / fitted.metrics["train_runtime"],
        "val_accuracy": measured["eval_accuracy"],
        "train_seconds": fitted.metrics["train_runtime"],
        "seconds": time.perf_counter() - began,
        "train_rows": len(rows["train"]),
        "val_rows": len(rows["val"]),
        "steps": fitted.global_step,
        "settings": "batches of 32 of like length, fused AdamW 0.0001 / linear, bf16, 1 loader process"
        if given.tuned
        else "batches of 8, AdamW 5e-05 / linear, fp32",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print(json.dumps(figures))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
