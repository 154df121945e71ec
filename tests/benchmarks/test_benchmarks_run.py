"""Every benchmark runs to its end at its tiniest size, so that none of them rots."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import models

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def run(script: str, *words: object) -> str:
    """A benchmark's stdout; its stderr is shown when it fails."""
    command = [sys.executable, str(BENCHMARKS / script), *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def results(out: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
    assert (out / f"{name}.md").read_text(encoding="utf-8").startswith("# ")
    assert found["environment"]["torch"] == torch.__version__
    return found


def picture(index: int, size: int) -> Image.Image:
    """Noise: no two pictures are near duplicates of each other."""
    generator = np.random.default_rng(index)
    return Image.fromarray(generator.integers(0, 256, (size, size, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Image folders: two classes, 8 rows for training, 4 for validation, 4 for the test."""
    root = tmp_path_factory.mktemp("photos")
    index = 0
    for split, rows in (("train", 4), ("validation", 2), ("test", 2)):
        for name in ("chair", "lamp"):
            (root / split / name).mkdir(parents=True)
            for _ in range(rows):
                index += 1
                picture(index, 48).save(root / split / name / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def ten_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parquet files as CIFAR-10's: 4 training rows and 2 test rows of each class."""
    import datasets

    root = tmp_path_factory.mktemp("cifar")
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    for split, rows in (("train", 4), ("test", 2)):
        labels = list(range(10)) * rows
        first = 1000 if split == "test" else 0
        images = [picture(first + index, 32) for index in range(len(labels))]
        made = datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)
        made.to_parquet(str(root / f"{split}.parquet"))
    return root


def test_the_classic_script_and_graft_train_are_compared_on_the_same_weights(photos: Path, tmp_path: Path) -> None:
    words = ("--data", photos, "--out", tmp_path, "--classic-workers", 0, "--train-size", 64)
    assert "A classic script" in run("classic_vs_graft.py", *words)
    rows = results(tmp_path, "classic_vs_graft")["rows"]
    assert [row["arm"] for row in rows] == ["A", "B", "C"]
    assert all(row["seconds"] >= row["fit_seconds"] > 0 for row in rows)
    assert all(len(row["curve"]) == 1 for row in rows)
    # The same command finds its runs again, and a question with other settings does not get their answer.
    run("classic_vs_graft.py", *words)
    assert results(tmp_path, "classic_vs_graft")["rows"] == rows
    with pytest.raises(AssertionError, match="other settings"):
        run("classic_vs_graft.py", *words, "--set", "batch_size=4")


def test_clothing_transfer_compares_strategies_and_keeps_finished_runs(photos: Path, tmp_path: Path) -> None:
    weights = tmp_path / "squeezenet.safetensors"
    save_file(models.squeezenet1_0(weights=None).state_dict(), str(weights))
    words = (
        "--data",
        photos,
        "--weights",
        weights,
        "--out",
        tmp_path / "out",
        "--strategies",
        "linear-probe",
        "scratch",
    )
    size = ("--set", "backbone_options.image_size=64")
    run("clothing_transfer.py", *words, *size)
    rows = results(tmp_path / "out", "clothing_transfer")["rows"]
    assert [row["strategy"] for row in rows] == ["linear-probe", "scratch"]
    run("clothing_transfer.py", *words, *size)
    assert results(tmp_path / "out", "clothing_transfer")["rows"] == rows


def test_the_seed_procedure_separates_source_and_target_classes(ten_classes: Path, tmp_path: Path) -> None:
    words = ("--data", ten_classes, "--out", tmp_path, "--labels", 1, "--source-limit", 0, "--epochs", 1)
    assert "over scratch" in run("seed_procedure.py", *words, "--strategies", "full")
    rows = results(tmp_path, "seed_procedure")["rows"]
    assert [row["strategy"] for row in rows] == ["full", "scratch"]
    assert all((row["train rows"], row["test rows"]) == (4, 8) for row in rows)

    import datasets

    target = {split: set(_labels(datasets, tmp_path, "target", split)) for split in ("train", "validation", "test")}
    assert set(map(frozenset, target.values())) == {frozenset({"cat", "deer", "horse", "truck"})}
    assert not set(_labels(datasets, tmp_path, "source", "train")) & target["train"]
    assert len(_labels(datasets, tmp_path, "target", "validation")) == 4


def _labels(datasets: Any, out: Path, kind: str, split: str) -> list[str]:
    rows = datasets.Dataset.from_parquet(str(out / "runs" / "data" / kind / f"{split}.parquet"))
    labels: list[str] = rows["label"][:]
    return labels


WORDS = ("film", "plot", "cast", "score", "scene", "story", "actor", "light", "sound", "joke", "marvel", "dreck")


@pytest.fixture(scope="module")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as transformers saves it: a BERT of two small layers and a tokenizer of whole words."""
    transformers = pytest.importorskip("transformers", reason="the text benchmarks need transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("encoder")
    numbers = {word: number for number, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=len(numbers), max_position_embeddings=64, **sizes)
    transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of texts, no two alike: 24 rows for training, 12 for validation."""
    folder = tmp_path_factory.mktemp("reviews")
    generator = np.random.default_rng(0)
    for split, rows in (("train", 24), ("validation", 12)):
        lines = ["text\tlabel\n"]
        for row in range(rows):
            words = generator.choice(WORDS[:10], size=int(generator.integers(6, 20)))
            lines.append(f"{' '.join(words)} {('marvel', 'dreck')[row % 2]}\t{('good', 'bad')[row % 2]}\n")
        (folder / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
    return folder


def test_the_trainer_and_graft_train_are_compared_on_the_same_rows(
    reviews: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("accelerate", reason="transformers' Trainer needs accelerate")
    words = ("--data", reviews, "--model", tiny_encoder, "--out", tmp_path, "--length", 32, "--limit-train", 20)
    assert "A transformers' Trainer" in run("text_vs_trainer.py", *words)
    found = results(tmp_path, "text_vs_trainer")
    assert [row["arm"] for row in found["rows"]] == ["A", "B", "C"]
    assert all(row["train_rows"] == 20 and row["seconds"] > row["train_seconds"] > 0 for row in found["rows"])
    assert all(0 <= row["val_accuracy"] <= 1 and row["samples_per_second"] > 0 for row in found["rows"])
    assert [row["rows a batch"] for row in found["padding"]] == [8, 32]
    first = found["padding"][0]
    assert 0 <= first["rows of like size"] < first["random"] < 1
    # The same command finds its runs again, and a question with other settings does not get their answer.
    run("text_vs_trainer.py", *words)
    assert results(tmp_path, "text_vs_trainer")["rows"] == found["rows"]
    with pytest.raises(AssertionError, match="other settings"):
        run("text_vs_trainer.py", *words, "--set", "batch_size=4")


def test_degrees_of_fine_tuning_of_a_text_encoder_are_compared(tmp_path: Path) -> None:
    words = ("--data", "sample:messages", "--backbone", "graftext-s", "--weights", "none", "--epochs", 1)
    few = ("--strategies", "full", "bitfit", "--per-class", 2, "--classes", 7)
    assert "labels a class" in run("text_strategies.py", *words, *few, "--out", tmp_path)
    rows = results(tmp_path, "text_strategies")["rows"]
    assert [row["strategy"] for row in rows] == ["full", "bitfit"] and rows[0]["trained"] > 5 * rows[1]["trained"]


def test_the_memory_that_a_table_of_texts_takes_is_measured() -> None:
    found = json.loads(run("text_memory.py", "--rows", 50, "--characters", 200))
    assert found
