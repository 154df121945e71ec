"""The texts and the tokenizer that ship with graftwork: complete, clean across splits, and able to write any text."""

from __future__ import annotations

import unicodedata
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from datasets import Dataset
from tokenizers import Tokenizer

import graftwork_text
from graftwork.interfaces import Spec
from graftwork_text.samples import messages

TOKENIZER = Path(graftwork_text.__file__).parent / "weights" / "graftext-s-tokenizer.json"
SPECIALS = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}


@pytest.fixture(scope="module")
def splits() -> dict[str, Dataset]:
    return messages(Spec("messages", {}))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(TOKENIZER))


def normalized(text: str) -> str:
    """Lower case, letters and digits only, single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(sign if sign.isalnum() else " " for sign in folded).split())


def shingles(text: str) -> set[str]:
    """All runs of four characters of the normalized text."""
    plain = normalized(text)
    return {plain[start : start + 4] for start in range(max(1, len(plain) - 3))}


def test_every_intent_has_40_training_15_validation_and_25_test_messages(splits: dict[str, Dataset]) -> None:
    assert list(splits) == ["train", "validation", "test"]
    for split, each in {"train": 40, "validation": 15, "test": 25}.items():
        rows = splits[split]
        assert rows.column_names == ["text", "label", "origin"]
        assert rows.features["label"].names == [
            "account-access",
            "cancel-order",
            "complaint",
            "order-status",
            "payment-problem",
            "product-question",
            "return-refund",
        ]
        assert Counter(rows["label"]) == dict.fromkeys(range(7), each)


def test_messages_have_2_to_40_words_and_no_space_around_them(splits: dict[str, Dataset]) -> None:
    texts = [text for rows in splits.values() for text in rows["text"]]
    assert all(text == text.strip() for text in texts)
    assert all(2 <= len(text.split()) <= 40 for text in texts)


def test_no_message_is_there_twice_or_nearly_twice(splits: dict[str, Dataset]) -> None:
    texts = [text for rows in splits.values() for text in rows["text"]]
    assert len({normalized(text) for text in texts}) == 560
    sets = [shingles(text) for text in texts]
    alike = [
        (texts[one], texts[other])
        for (one, first), (other, second) in combinations(enumerate(sets), 2)
        if len(first & second) >= 0.6 * len(first | second)
    ]
    assert alike == []


def test_the_origin_of_a_message_is_its_line_in_the_file(splits: dict[str, Dataset]) -> None:
    lines = (Path(graftwork_text.__file__).parent / "samples" / "messages.tsv").read_text(encoding="utf-8").splitlines()
    for split, rows in splits.items():
        for row in rows:
            name, _, number = row["origin"].partition(":")
            assert name == "messages.tsv"
            label = rows.features["label"].int2str(row["label"])
            assert lines[int(number) - 1] == f"{split}\t{row['text']}\t{label}"


def test_the_tokenizer_has_4096_tokens_with_the_specials_first_and_cuts_and_pads_nothing(tokenizer: Tokenizer) -> None:
    assert tokenizer.get_vocab_size() == 4096
    assert set(tokenizer.get_vocab().values()) == set(range(4096))
    assert {name: tokenizer.token_to_id(name) for name in SPECIALS} == SPECIALS
    assert tokenizer.padding is None
    assert tokenizer.truncation is None
    assert len(tokenizer.encode("x y " * 2000).ids) > 4000


@pytest.mark.parametrize(
    "text",
    [
        "where is it 🙂👩‍👩‍👧",
        "我的包裹在哪里?",
        "أين طلبي؟ \u200fהיכן",
        "a\x00b\x7f\x01",
        "two  spaces\n\ttab ",
        "ß ñ ﬁ \ufffd",
        "q",
    ],
    ids=["emoji", "chinese", "right-to-left", "control", "spaces", "rare", "one-letter"],
)
def test_the_tokenizer_gives_any_text_back_in_lower_case(tokenizer: Tokenizer, text: str) -> None:
    encoded = tokenizer.encode(text)
    assert all(3 < token < 4096 for token in encoded.ids[1:-1])
    assert tokenizer.decode(encoded.ids) == " " + unicodedata.normalize("NFC", text).lower()


def test_accents_and_capitals_written_in_another_way_are_the_same_tokens(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("CAFE\u0301 Closed").ids == tokenizer.encode("café closed").ids


def test_texts_and_pairs_get_their_marks_and_their_types(tokenizer: Tokenizer) -> None:
    single, pair, empty = tokenizer.encode("my card"), tokenizer.encode("my card", "is late"), tokenizer.encode("")
    assert single.tokens == ["[CLS]", "Ġmy", "Ġcard", "[SEP]"]
    assert pair.tokens == ["[CLS]", "Ġmy", "Ġcard", "[SEP]", "Ġis", "Ġlate", "[SEP]"]
    assert pair.type_ids == [0, 0, 0, 0, 1, 1, 1]
    assert empty.tokens == ["[CLS]", "[SEP]"]
