"""Texts as token numbers: cut, kept in Arrow, found again, padded; what is cut is counted."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import graftwork_text
from graftwork import UsageError
from graftwork.interfaces import Tables, TextInput
from graftwork.machine.generator import restoring_cpu_generator
from graftwork_text import tokens as module
from graftwork_text.examples import TextExamples
from graftwork_text.lengths import check_lengths
from graftwork_text.tokens import load_tokenizer, tokenise

TOKENIZER = (Path(graftwork_text.__file__).parent / "weights/graftext-s-tokenizer.json").read_text(encoding="utf-8")
INPUT = TextInput(TOKENIZER, 12)
CLS, SEP = 2, 3
TEXTS = ["short", "a longer text that does not fit into twelve tokens by any means at all", "", "emoji 👋 and עברית"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def rows_of(texts: list[str], **columns: list[object]) -> Dataset:
    return Dataset.from_dict({"text": texts, "origin": [f"row {n}" for n in range(len(texts))], **columns})


def test_rows_are_cut_at_the_length_and_keep_their_special_tokens() -> None:
    table = tokenise(rows_of(TEXTS), INPUT)
    assert len(table) == 4 and table.sizes.max() == 12 and table.full[1] > 12
    for number in range(4):
        ids, second = table.row(number)
        assert ids[0] == CLS and ids[-1] == SEP and second == 0 and len(ids) == min(table.full[number], 12)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), min_size=1, max_size=9))
def test_tokens_from_the_mapped_file_are_those_in_memory(
    texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAFTWORK_CACHE", str(tmp_path_factory.mktemp("cache")))
        in_memory = tokenise(rows_of(texts), INPUT)
        patch.setattr(module, "IN_MEMORY_CHARACTERS", -1)
        patch.setattr(module, "BATCH", 2)
        mapped = tokenise(rows_of(texts), INPUT)
        again = pickle.loads(pickle.dumps(mapped))
        for table in (mapped, again):
            assert (table.full == in_memory.full).all() and (table.sizes == in_memory.sizes).all()
            for number in range(len(texts)):
                assert (table.row(number)[0] == in_memory.row(number)[0]).all()


def test_tokenising_happens_once_for_the_same_texts_tokenizer_and_length(
    _own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IN_MEMORY_CHARACTERS", -1)
    tokenise(rows_of(TEXTS), INPUT)
    (file,) = (_own_cache / "tokens").iterdir()
    made = file.stat().st_ino
    os.utime(file, (0, 0))
    tokenise(rows_of(TEXTS), INPUT)
    assert file.stat().st_ino == made and len(list(file.parent.iterdir())) == 1
    assert time.time() - file.stat().st_mtime < 60, "what is found is marked as used, or it would be removed first"
    for rows, input in (
        (rows_of(TEXTS[::-1]), INPUT),
        (rows_of(TEXTS), TextInput(TOKENIZER, 11)),
        (rows_of([*TEXTS[:3], TEXTS[3] + "!"]), INPUT),
        (rows_of(["shor", "t" + TEXTS[1], *TEXTS[2:]]), INPUT),
    ):
        before = len(list(file.parent.iterdir()))
        tokenise(rows, input)
        assert len(list(file.parent.iterdir())) == before + 1


def test_where_tokens_cannot_be_kept_they_are_the_same_in_memory_and_that_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    expected = tokenise(rows_of(TEXTS), INPUT)
    (tmp_path / "file").touch()
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(module, "IN_MEMORY_CHARACTERS", -1)
    for _ in range(2):
        table = pickle.loads(pickle.dumps(tokenise(rows_of(TEXTS), INPUT)))
        assert [list(table.row(row)[0]) for row in range(4)] == [list(expected.row(row)[0]) for row in range(4)]
    (line,) = said
    assert "cannot be written (Not a directory): going on without" in line


def test_special_tokens_that_somebody_typed_are_text() -> None:
    ids, _ = tokenise(rows_of(["a [SEP] b [CLS]"]), TextInput(TOKENIZER, 40)).row(0)
    assert list(ids).count(SEP) == 1 and list(ids).count(CLS) == 1


def test_pairs_are_told_apart_and_cut_together() -> None:
    rows = rows_of(["hi", "a " * 30], text_pair=["there you are", "b " * 30], label=[0, 1])
    examples = TextExamples(rows, INPUT, {"classes": ["x", "y"]})
    batch = examples.collate([0, 1], [examples.load(0), examples.load(1)])
    types, mask, tokens = batch.inputs["types"], batch.inputs["mask"], batch.inputs["tokens"]
    assert tokens.shape == (2, 12) and mask[1].all() and types[1].sum() == 6
    first = int((tokens[0] == SEP).nonzero()[0])
    assert not types[0, : first + 1].any() and types[0, first + 1 : int(mask[0].sum())].all()


def test_a_batch_is_padded_to_its_longest_row_and_no_further() -> None:
    examples = TextExamples(rows_of(TEXTS, label=[0, 1, 1, 0]), INPUT, {"classes": ["x", "y"]})
    assert list(examples.sizes()) == [len(examples.load(row)[0]) for row in range(4)]
    with restoring_cpu_generator():
        batch = examples.collate([2, 0], [examples.load(2), examples.load(0)])
    assert batch.inputs["tokens"].shape[1] == max(examples.sizes()[0], examples.sizes()[2])
    assert (batch.inputs["tokens"][~batch.inputs["mask"]] == 0).all() and "types" not in batch.inputs
    assert torch.equal(batch.targets["label"], torch.tensor([1, 0])) and examples.cheap


def test_targets_follow_what_a_label_is() -> None:
    several = TextExamples(
        rows_of(["a", "b"], label=[[0, 2], []]), INPUT, {"labels": "multi", "classes": ["x", "y", "z"]}
    )
    batch = several.collate([0, 1], [several.load(0), several.load(1)])
    assert batch.targets["labels"].tolist() == [[1, 0, 1], [0, 0, 0]]
    number = TextExamples(rows_of(["a", "b"], label=[0.5, -2.0]), INPUT, {"labels": "number", "classes": []})
    assert number.collate([1], [number.load(1)]).targets["value"].tolist() == [-2.0]


def test_rows_that_are_cut_are_counted_and_named() -> None:
    tables = Tables({"train": rows_of(TEXTS), "test": rows_of(["one two three " * 20])})
    found = {finding.code: finding for finding in check_lengths(tables, INPUT)}
    assert found["texts-cut"].count == 3 and found["texts-cut"].level == "warning"
    assert any("train: row 1" in place for place in found["texts-cut"].where)
    assert "the model takes 12" in found["token-lengths"].message
    wide = check_lengths(tables, TextInput(TOKENIZER, 4096))
    assert [finding.code for finding in wide] == ["token-lengths"]


@pytest.mark.parametrize("text", ["", "{", '{"model": {"type": "Nothing"}}', "[]"])
def test_what_is_no_tokenizer_is_one_clear_line(text: str) -> None:
    with pytest.raises(UsageError, match="tokenizer"):
        load_tokenizer(TextInput(text, 8))


def test_a_hundred_thousand_characters_and_nul_bytes_are_tokens_like_others() -> None:
    table = tokenise(rows_of(["x" * 100_000, "a\x00b", "\u200b\u200f"]), INPUT)
    assert table.full[0] > 1000 and table.sizes[0] == 12 and np.all(table.sizes >= 2)
