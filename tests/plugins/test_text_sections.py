"""The text report: the tokens that misled a real, tiny model are marked, on every kind of text and of label."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

import graftwork_text
from graftwork.classification.heads import build_linear
from graftwork.interfaces import Evaluation, Facts, Model, Passages, Section, Spec, Text, TextInput
from graftwork.report import RunView, render
from graftwork_text import attribution
from graftwork_text.attribution import BETWEEN, Piece, mark
from graftwork_text.backbones.staged import TextBackbone
from graftwork_text.examples import TextExamples
from graftwork_text.sections import MISTAKES, text_sections

WORDS = [
    "the",
    "a",
    "film",
    "plot",
    "cast",
    "was",
    "long",
    "short",
    "loud",
    "seen",
    "marvel",
    "dreck",
    "cafe",
    ",",
    ".",
]
CONFIG = {"model_type": "bert", "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
          "intermediate_size": 64, "max_position_embeddings": 64, "hidden_dropout_prob": 0.0,
          "attention_probs_dropout_prob": 0.0, "initializer_range": 0.05}  # fmt: skip
OPTIONS = {"dropout": 0.0, "label_smoothing": 0.0, "imbalance": "none", "focal_gamma": 2.0}
SINGLE: Facts = {"labels": "single", "classes": ["bad", "good"], "train_counts": [30, 30]}
MULTI: Facts = {"labels": "multi", "classes": ["bad", "good", "loud"], "train_counts": [9, 9, 9], "threshold": 0.5}
NUMBER: Facts = {"labels": "number", "classes": [], "train_counts": [], "mean": 1.0, "std": 2.0}


def whole_words() -> str:
    """A lower-casing tokenizer of whole words, accents taken off, with [CLS] and [SEP]."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    made = Tokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    text: str = made.to_str()
    return text


def bytes_only() -> str:
    """The tokenizer of bytes that comes with graftext-s."""
    return (Path(graftwork_text.__file__).parent / "weights" / "graftext-s-tokenizer.json").read_text(encoding="utf-8")


def tiny(facts: Facts, tokenizer: str | None = None, length: int = 24) -> Model:
    torch.manual_seed(0)
    tokenizer = tokenizer or whole_words()
    config = CONFIG | {"vocab_size": max(64, Tokenizer.from_str(tokenizer).get_vocab_size())}
    backbone = TextBackbone(json.dumps(config), "mean", TextInput(tokenizer, length), 0)
    return Model(backbone, build_linear(Spec("linear", OPTIONS), backbone, facts)).eval()


def sentences(keys: Sequence[str], seed: int) -> list[str]:
    """For each key a text of five plain words with the key somewhere among them."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for key in keys:
        words = [WORDS[int(number)] for number in torch.randint(0, 10, (5,), generator=generator)]
        words.insert(int(torch.randint(0, 6, (1,), generator=generator)), key)
        found.append(" ".join(words))
    return found


@pytest.fixture(scope="module")
def fitted() -> Model:
    """A model that has learned: `marvel` makes a text good, `dreck` makes it bad, and without them it is either."""
    model = tiny(SINGLE)
    # Without the third kind one word and its absence would be enough.
    texts = sentences([*["dreck", "marvel"] * 70, *["cafe"] * 60], 0)
    examples = TextExamples(Dataset.from_dict({"text": texts, "label": [0, 1] * 100}), model.backbone.input, SINGLE)
    batch = examples.collate(range(200), [examples.load(row) for row in range(200)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()
    for _ in range(60):
        optimizer.zero_grad()
        loss = model(batch)["loss"] / 200
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.27, "at best log 2 in 30 % of the rows"
    return model.eval()


def strongest(pieces: Sequence[Piece]) -> Piece:
    return max(pieces, key=lambda piece: abs(piece[1]))


def joined(pieces: Sequence[Piece]) -> str:
    return "".join(text for text, _ in pieces)


def shown(section: Section) -> Sequence[tuple[Sequence[Piece], str]]:
    (found,) = (block for block in section.blocks if isinstance(block, Passages))
    return found.passages


def said(section: Section) -> str:
    return " ".join(block.text for block in section.blocks if isinstance(block, Text))


# --- attribution ----------------------------------------------------------------------------------------------------------


def test_the_planted_word_gets_the_largest_weight_for_its_class_and_against_the_other(fitted: Model) -> None:
    texts = sentences(["marvel"] * 20, 1)
    rows = Dataset.from_dict({"text": texts})
    for_good = mark(fitted, rows, SINGLE, [1] * 20, [0] * 20)
    hits = [strongest(pieces) for pieces in for_good]
    assert sum(hit == ("marvel", 1.0) for hit in hits) >= 18, hits
    for_bad = mark(fitted, rows, SINGLE, [0] * 20, [1] * 20)
    assert [strongest(pieces) for pieces in for_bad] == [(word, -weight) for word, weight in hits]


def test_marks_agree_with_taking_the_word_out(fitted: Model) -> None:
    """The pieces are weighed by a first-order estimate; the word that it names must be the one that matters."""
    text = "the film was marvel , loud"
    (pieces,) = mark(fitted, Dataset.from_dict({"text": [text]}), SINGLE, [1], [0])
    words = text.split()
    without = [" ".join(words[:at] + words[at + 1 :]) for at in range(len(words))]
    examples = TextExamples(Dataset.from_dict({"text": without}), fitted.backbone.input, SINGLE)
    found = fitted.predict(examples.collate(range(len(words)), [examples.load(row) for row in range(len(words))]))
    assert isinstance(found, dict)
    matters = int((found["logits"][:, 1] - found["logits"][:, 0]).argmin())
    assert strongest(pieces)[0] == words[matters] == "marvel"


def test_pieces_are_the_text_itself_whatever_the_tokenizer_makes_of_it(fitted: Model) -> None:
    text = "  The MARVEL,\tCafé — 映画 was\n\nlong.  "
    (pieces,) = mark(fitted, Dataset.from_dict({"text": [text]}), SINGLE, [1], [0])
    assert joined(pieces) == text
    weights = dict(pieces)
    assert {"The", "MARVEL", ",", "Café", "was", "long", "."} <= {word for word, weight in pieces if weight}
    assert weights["  "] == 0 and weights["MARVEL"] == 1


def test_bytes_of_one_character_are_one_piece() -> None:
    text = "naïve 👩‍🚀 映画 مرحبا"
    model = tiny(SINGLE, bytes_only(), 64)
    (pieces,) = mark(model, Dataset.from_dict({"text": [text]}), SINGLE, [1], [0])
    assert joined(pieces) == text
    assert max(abs(weight) for _, weight in pieces) == 1
    assert all(len(piece) for piece, _ in pieces)


def test_a_pair_is_marked_in_both_texts_and_what_is_cut_off_has_no_weight(fitted: Model) -> None:
    rows = Dataset.from_dict({"text": ["the film " * 30 + "was dreck"], "text_pair": ["a marvel"]})
    (pieces,) = mark(fitted, rows, SINGLE, [1], [0])
    assert joined(pieces) == rows[0]["text"] + BETWEEN + "a marvel"
    assert dict(pieces)["marvel"] != 0
    assert [weight for word, weight in pieces if "dreck" in word] == [0.0]
    assert sum(weight != 0 for _, weight in pieces) == 24 - 3, "the length, less [CLS] and two [SEP]"


def test_rows_of_a_batch_do_not_change_one_another_and_no_gradient_is_left(fitted: Model) -> None:
    rows = Dataset.from_dict({"text": [*sentences(["marvel", "dreck"] * 5, 2), "", "dreck"]})
    before = {name: tensor.clone() for name, tensor in fitted.state_dict().items()}
    for parameter in fitted.parameters():
        parameter.grad = None
    together = mark(fitted, rows, SINGLE, [1] * 12, [0] * 12)
    alone = [mark(fitted, rows.select([row]), SINGLE, [1], [0])[0] for row in range(12)]
    for ours, theirs in zip(together, alone, strict=True):
        assert [text for text, _ in ours] == [text for text, _ in theirs]
        assert [weight for _, weight in ours] == pytest.approx([weight for _, weight in theirs], abs=1e-4)
    assert together[10] == []
    assert all(parameter.grad is None for parameter in fitted.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in fitted.state_dict().items())


def test_a_budget_bounds_what_marks_cost(fitted: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Dataset.from_dict({"text": sentences(["marvel"] * 6, 3)})
    numbers = sum(parameter.numel() for stage in fitted.backbone.stages()[1:] for parameter in stage.parameters())
    monkeypatch.setattr(attribution, "BUDGET", attribution.STEPS * 4 * numbers * 17)  # two texts of eight tokens
    pieces = mark(fitted, rows, SINGLE, [1] * 6, [0] * 6)
    assert [any(weight for _, weight in line) for line in pieces] == [True, True, False, False, False, False]
    assert [joined(line) for line in pieces] == rows["text"][:]


# --- sections -------------------------------------------------------------------------------------------------------------


def evaluation(
    facts: Facts, model: Model | None, texts: Sequence[str], labels: Sequence[Any], kept: bool = True
) -> Evaluation:
    """As `graft` makes it: predictions as they were written, nested values as JSON text."""
    from graftwork.classification.labels import decode, metrics_of

    judge = model or tiny(facts)
    origins = [f"films.csv:{row + 2}" for row in range(len(texts))]
    rows = Dataset.from_dict({"text": list(texts), "label": list(labels), "origin": origins})
    examples = TextExamples(rows, judge.backbone.input, facts)
    batch = examples.collate(range(len(texts)), [examples.load(row) for row in range(len(texts))])
    found = judge.predict(batch)
    metrics = metrics_of(facts, torch.device("cpu"))
    metrics.update(found, batch)
    lines = [
        {
            "row": row,
            "origin": origins[row],
            **{key: json.dumps(value) if isinstance(value, list | dict) else value for key, value in line.items()},
        }
        for row, line in enumerate(decode(found, facts))
    ]
    return Evaluation("test", metrics.compute(), metrics.details(), lines, rows if kept else None, model)


def test_the_worst_mistakes_are_shown_with_their_words_marked(fitted: Model) -> None:
    texts = sentences(["marvel", "dreck"] * 40, 4)
    labels = [1, 0] * 40
    labels[:60] = [1 - label for label in labels[:60]]  # wrongly labelled
    sections = text_sections(evaluation(SINGLE, fitted, texts, labels), SINGLE)
    assert [section.title for section in sections] == [
        "Confusion matrix",
        "Classes",
        "Calibration",
        "Most confident mistakes",
    ]
    passages = shown(sections[-1])
    assert len(passages) == MISTAKES
    sure = [float(caption.split(" at ")[1].split(",")[0]) for _, caption in passages]
    assert sure == sorted(sure, reverse=True)
    right = 0
    for pieces, caption in passages:
        (word,) = {"marvel", "dreck"} & {text for text, _ in pieces}
        true, wrong, row = caption.split(", ")
        assert (word, true, wrong[:9]) in {("marvel", "true bad", "said good"), ("dreck", "true good", "said bad ")}
        right += dict(pieces)[word] > 0
        assert word == "dreck" or strongest(pieces) == ("marvel", 1.0)
        assert row.startswith("films.csv:")
    assert right >= 20, "an estimate: it need not see in every text that the word spoke for what was said"
    assert "60 of 80 rows are wrong" in said(sections[-1]) and "gradient × input" in said(sections[-1])
    page = render(RunView(name="run"), sections)
    assert page.count(">marvel</mark>") + page.count(">dreck</mark>") == MISTAKES


def test_a_report_without_model_or_data_says_what_is_missing(fitted: Model) -> None:
    texts, labels = sentences(["marvel", "dreck"] * 4, 5), [0, 1] * 4
    whole = evaluation(SINGLE, fitted, texts, labels)
    section = text_sections(
        Evaluation(whole.split, whole.metrics, whole.details, whole.predictions, whole.rows), SINGLE
    )[-1]
    assert "could not be loaded" in said(section)
    assert {joined(pieces) for pieces, _ in shown(section)} == set(texts)
    assert not any(weight for pieces, _ in shown(section) for _, weight in pieces)
    gone = text_sections(evaluation(SINGLE, fitted, texts, labels, kept=False), SINGLE)[-1]
    assert "no longer where it was" in said(gone)
    right = text_sections(evaluation(SINGLE, fitted, texts, [1, 0] * 4), SINGLE)[-1]
    assert "There is none" in said(right) and len(right.blocks) == 1


def test_the_largest_errors_of_several_classes_name_the_class_first() -> None:
    model = tiny(MULTI)
    with torch.no_grad():
        model.head.linear.bias.copy_(torch.tensor([-4.0, 3.0, 0.0]))  # type: ignore[union-attr, operator]
    texts = sentences(["marvel", "loud", "cafe"], 6)
    section = text_sections(evaluation(MULTI, model, texts, [[1], [0, 2], []]), MULTI)[-1]
    assert section.title == "Largest errors"
    (_, first), (_, second), (_, third) = shown(section)
    assert first.startswith("bad at 0.0") and "true bad + loud, said good" in first
    assert second.startswith("good at 0.9") and "true none" in second
    assert third.startswith(("loud at", "bad at", "good at"))
    assert all(abs(strongest(pieces)[1]) == 1 for pieces, _ in shown(section))


def test_the_largest_errors_of_numbers_come_first() -> None:
    model = tiny(NUMBER)
    texts = sentences(["marvel", "loud", "cafe"], 7)
    section = text_sections(evaluation(NUMBER, model, texts, [1.5, 90.0, -3.0]), NUMBER)[-1]
    assert [caption.split(",")[0] for _, caption in shown(section)] == ["true 90", "true -3", "true 1.5"]
    assert all(abs(strongest(pieces)[1]) == 1 for pieces, _ in shown(section))
