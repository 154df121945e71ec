"""Embedded texts for `sample:NAME`: they come with the package, so they work offline.

`messages.tsv` was invented for graftwork, message by message and without templates, and is under graftwork's licence,
Apache-2.0. No message comes from a real customer; none names a brand or a person.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset

    from graftwork.interfaces import Spec

_MESSAGES = Path(__file__).with_name("messages.tsv")


def messages(spec: Spec) -> dict[str, Dataset]:
    """Messages of customers to a web shop, 7 intents, 560 rows: 280 train, 105 validation, 175 test; balanced and fixed.

    Columns: `text`, `label`, `origin` (the file and its line). What the customer wants decides the label, not the words:
    many messages name the things of another intent. Some hold typos or no punctuation, as such messages do.
    """
    from datasets import ClassLabel, Dataset, Features, Value

    # No quoting: a quotation mark in the file is a quotation mark of the message.
    lines = _MESSAGES.read_text(encoding="utf-8").splitlines()
    rows: list[tuple[int, list[str]]] = [(number, line.split("\t")) for number, line in enumerate(lines[1:], start=2)]
    names = sorted({label for _, (_, _, label) in rows})
    features = Features({"text": Value("string"), "label": ClassLabel(names=names), "origin": Value("string")})
    return {
        split: Dataset.from_dict(
            {
                "text": [text for _, (part, text, _) in rows if part == split],
                "label": [names.index(label) for _, (part, _, label) in rows if part == split],
                "origin": [f"{_MESSAGES.name}:{number}" for number, (part, _, _) in rows if part == split],
            },
            features=features,
        )
        for split in ("train", "validation", "test")
    }
