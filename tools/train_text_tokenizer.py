"""Train the tokenizer of the small embedded text model: byte-level BPE with 4,096 tokens.

`python tools/train_text_tokenizer.py train.csv graftext-s-tokenizer.json` reads the `text` column of the CSV. The file
that ships was trained on the training texts of Banking77 (Casanueva et al. 2020, CC BY 4.0) and on nothing else. The
same texts give the same bytes. Byte-level, so any language, emoji and control character can be encoded.
"""

from __future__ import annotations

import csv
from pathlib import Path

import typer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
"""Their places in the list are their token ids."""

VOCABULARY = 4096


def trained(texts: list[str]) -> Tokenizer:
    """A tokenizer of exactly 4,096 tokens; ValueError when the texts are too few to fill the vocabulary."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    # All 256 bytes are tokens from the start: a byte the training texts never hold still has an id.
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIALS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise ValueError(f"{tokenizer.get_vocab_size()} tokens instead of {VOCABULARY}: give more text")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, SPECIALS.index(name)) for name in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def main(texts: Path, out: Path) -> None:
    """Read the `text` column of the CSV at TEXTS and write the tokenizer to OUT."""
    with texts.open(encoding="utf-8", newline="") as file:
        rows = [row["text"] for row in csv.DictReader(file)]
    trained(rows).save(str(out))
    typer.echo(f"{out}: {VOCABULARY} tokens from {len(rows)} texts")


if __name__ == "__main__":
    typer.run(main)
