"""Reading and auditing texts: every fault is planted in a tiny real data set and must be named."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from pyarrow import parquet

from graftwork.data.fingerprint import CONTENT, fingerprint
from graftwork.data.splits import complete
from graftwork.errors import DataError, UsageError
from graftwork.interfaces import DataRequest, Finding, Tables
from graftwork_text import near
from graftwork_text.audit import align_texts, audit_texts
from graftwork_text.inputs import read_inputs
from graftwork_text.read import read_texts

PACKS = Path(__file__).parents[3] / "shared" / "data"
WORDS = [
    f"{first}{last}" for first in ("bar", "mel", "tor", "sin", "qua", "wex") for last in ("do", "nik", "la", "rust")
]


def sentence(seed: int) -> str:
    """A text of eight words; different seeds are unlike."""
    return " ".join(np.random.default_rng(seed).choice(WORDS, 8)) + f" {seed * 7919}"


def clean(rows: int = 12, first: int = 0) -> list[tuple[str, Any]]:
    return [(sentence(first + row), ("no", "yes")[row % 2]) for row in range(rows)]


def table(texts: Sequence[tuple[Any, Any]]) -> Dataset:
    return Dataset.from_dict({"text": [text for text, _ in texts], "label": [label for _, label in texts]})


def read(labels: str = "single", options: dict[str, Any] | None = None, **splits: Dataset) -> Tables:
    request = DataRequest("sample:planted", options=options or {}, samples=lambda name: splits)
    return read_texts(request, labels)


def audited(tables: Tables, labels: str = "single") -> tuple[Tables, dict[str, Finding]]:
    made, findings = audit_texts(tables, labels)
    return made, {finding.code: finding for finding in (*tables.findings, *findings)}


def planted(*texts: tuple[Any, Any], labels: str = "single") -> dict[str, Finding]:
    """What is found when these rows are added to a clean training split."""
    return audited(read(labels, train=table([*clean(), *texts]), test=table(clean(12, 100))), labels)[1]


# --- reading --------------------------------------------------------------------------------------------------------------


def test_clean_texts_give_no_finding() -> None:
    tables, found = audited(read(train=table(clean()), test=table(clean(12, 100))))
    assert found == {}
    assert tables.names == ("no", "yes")
    assert set(tables.splits["train"].column_names) == {"text", "label", "origin", CONTENT}


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_every_table_format_reads_the_same(tmp_path: Path, suffix: str) -> None:
    rows = [*clean(), ('she said "no", twice', "no"), ("שלום 👩‍👩‍👧 你好", "yes")]
    file = tmp_path / f"data.{suffix}"
    if suffix == "jsonl":
        file.write_text("".join(json.dumps({"review": t, "sentiment": y}) + "\n" for t, y in rows))
    elif suffix == "parquet":
        parquet.write_table(pa.table({"review": [t for t, _ in rows], "sentiment": [y for _, y in rows]}), file)
    else:
        import csv

        with file.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, delimiter="," if suffix == "csv" else "\t").writerows([("review", "sentiment"), *rows])
    tables = read_texts(DataRequest(str(file)), "single")
    assert tables.splits["train"]["text"][:] == [text for text, _ in rows]
    assert tables.splits["train"][0]["origin"] == f"data.{suffix} row 1"
    assert [tables.names[label] for label in tables.splits["train"]["label"][:]] == [label for _, label in rows]


def test_quotes_in_tab_separated_text_are_text(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text('sentence\tlabel\n"a fine film\t1\nthe "worst" of all\t0\n')
    tables = read_texts(DataRequest(str(tmp_path)), "single")
    assert tables.splits["train"]["text"][:] == ['"a fine film', 'the "worst" of all']


def test_folders_of_text_files(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            (tmp_path / split / label).mkdir(parents=True)
            (tmp_path / split / label / "1.txt").write_bytes(b"\xef\xbb\xbf" + f"{split} {label}".encode())
    (tmp_path / "train" / "dog" / "2.txt").write_bytes("caf\xe9".encode("latin-1"))
    (tmp_path / "train" / "dog" / "3.txt").write_text("wide", encoding="utf-16")
    tables = read_texts(DataRequest(str(tmp_path)), "single")
    assert tables.splits["train"]["text"][:] == ["train cat", "train dog", "caf\ufffd", "wide"]
    assert tables.names == ("cat", "dog")
    damage = next(finding for finding in tables.findings if finding.code == "undecodable-bytes")
    assert (damage.count, damage.where) == (1, ("train/dog/2.txt",))


def test_bytes_and_invalid_utf8_in_parquet_are_decoded_and_counted() -> None:
    raw = pa.array([b"fine", b"caf\xe9", None], pa.binary())
    unchecked = pa.Array.from_buffers(pa.string(), 3, raw.buffers(), null_count=1)
    for column in (raw, unchecked):
        tables = read(train=Dataset(pa.table({"text": column, "label": ["a", "b", "a"]})))
        assert tables.splits["train"]["text"][:] == ["fine", "caf\ufffd", ""]
        assert tables.findings[0].code == "undecodable-bytes"


@pytest.mark.parametrize(
    ("first", "second"), [("premise", "hypothesis"), ("question", "sentence"), ("Question1", "question2")]
)
def test_well_known_pairs_are_pairs(first: str, second: str) -> None:
    rows = Dataset.from_dict({second: ["b", "d"], first: ["a", "c"], "label": [0, 1]})
    assert read(train=rows).splits["train"]["text"][:] == ["a", "c"]
    assert read(train=rows).splits["train"]["text_pair"][:] == ["b", "d"]


def test_a_pair_is_taken_where_it_is_named_and_else_not() -> None:
    rows = {"train": Dataset.from_dict({"title": ["a", "c"], "body": ["b", "d"], "label": [0, 1]})}
    columns = {"text": "title", "text_pair": "body"}
    named = read_texts(DataRequest("sample:x", columns=columns, samples=lambda _: rows), "single")
    assert named.splits["train"]["text_pair"][:] == ["b", "d"]
    assert "text_pair" not in read(**rows).splits["train"].column_names


def test_several_labels_from_text_lists_and_declared_classes() -> None:
    want = [[0, 1], [], [1]]
    parted = read("multi", train=table([("x", "a| b|a"), ("y", ""), ("z", "b")]))
    spaced = read("multi", {"label_separator": ";"}, train=table([("x", "a;b"), ("y", ""), ("z", "b")]))
    lists = read("multi", train=table([("x", ["b", "a"]), ("y", []), ("z", ["b"])]))
    features = Features({"text": Value("string"), "label": List(ClassLabel(names=["a", "b", "c"]))})
    declared = read("multi", train=Dataset.from_dict({"text": ["x", "y", "z"], "label": want}, features=features))
    for tables in (parted, spaced, lists, declared):
        assert tables.splits["train"]["label"][:] == want
        assert tables.splits["train"].features["label"] == List(Value("int64"))
    assert parted.names == ("a", "b")
    assert declared.names == ("a", "b", "c")


def test_numbers_are_numbers_and_the_rest_is_named() -> None:
    tables = read("number", train=table([("x", "1.5"), ("y", "many"), ("z", ""), ("u", "inf"), ("v", "-2")]))
    assert tables.splits["train"]["label"][:] == [1.5, -2.0]
    finding = tables.findings[0]
    assert (finding.code, finding.count, finding.where[0]) == ("label-not-a-number", 3, "train: train row 2")
    with pytest.raises(DataError, match="no row's label is a finite number"):
        read("number", train=table(clean()))


def test_what_cannot_be_read_gives_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("text,label\nпривет,a\n".encode("cp1251"))
    (tmp_path / "broken.csv").write_text('text,label\n"fine",a\n"never closed,b\nc,d\ne,f\n')
    (tmp_path / "note.md").write_text("x")
    for name in ("latin.csv", "broken.csv", "note.md", "missing.csv"):
        with pytest.raises(DataError) as raised:
            read_texts(DataRequest(str(tmp_path / name)), "single")
        assert name in str(raised.value)
        assert "\n" not in str(raised.value)
    with pytest.raises(DataError, match="holds int64, not text"):
        read(train=table([(1, "a"), (2, "b")]))
    with pytest.raises(DataError, match="labels=multi"):
        read(train=table([("x", ["a"]), ("y", ["b"])]))
    with pytest.raises(UsageError, match="unknown kind of data source"):
        read_texts(DataRequest("ftp:x"), "single")


# --- planted faults -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "empty-text"),
        (None, "empty-text"),
        (" \t\n\u3000", "empty-text"),
        ("\u200b\u2060\ufeff\u202e\u3164", "empty-text"),
        ("lost \ufffd letter", "replacement-character"),
        ("le cafÃ© est fermÃ©", "mojibake"),
        ("itâ€™s broken", "mojibake"),
        ("Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "mojibake"),
        ("ends\x00here", "nul-byte"),
        ("bell\x07", "control-character"),
        ("turned \u202eesrever", "bidirectional-control"),
        ("zero\u200bwidth", "invisible-character"),
        ("one<br/>two", "html-markup"),
        ("salt &amp; pepper", "html-markup"),
        ("long " * 20_001, "very-long-text"),
    ],
)
def test_a_planted_text_is_named(text: str | None, code: str) -> None:
    found = planted((text, "no"))
    assert set(found) == {code}
    assert (found[code].count, found[code].where) == (1, ("train: train row 13",))


@pytest.mark.parametrize(
    "text",
    [
        "SÃO Paulo à côté, Âge d'or",
        "привет, мир",
        "👩‍👩‍👧‍👦 ok",
        "می‌خواهم",
        "שלום עולם",
        "你好，世界。",
        "a < b & c > d",
        "line\r\nline\ttab",
    ],
)
def test_honest_text_of_any_language_is_not_named(text: str) -> None:
    assert planted((text, "no")) == {}


def test_empty_rows_are_taken_out_and_their_neighbours_kept() -> None:
    rows = [*clean(3), ("\u200b", "no"), *clean(3, 50)]
    tables, _ = audited(read(train=table(rows), test=table(clean(4, 100))))
    assert tables.splits["train"]["text"][:] == [text for text, _ in rows if text != "\u200b"]
    assert tables.splits["train"]["origin"][3] == "train row 5"


def test_a_split_without_any_text_is_an_error() -> None:
    found = audited(read(train=table(clean()), test=table([("", "no"), (" ", "yes")])))[1]
    assert found["split-without-usable-rows"].level == "error"


def test_duplicates_are_named_by_text_in_any_unicode_form() -> None:
    texts = [("caf\u00e9 am Markt heute", "no"), ("cafe\u0301 am Markt heute", "yes")]
    found = planted(*texts)
    assert set(found) == {"duplicate-with-other-label"}
    rows = table([*clean(), texts[0]])
    across = audited(read(train=rows, test=table([*clean(12, 100), texts[0]])))[1]
    assert across["duplicate-across-splits"].where == ("train: train row 13 (no) = test: test row 13 (no)",)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How can I top-up my account with a cheque?", "how can i top up my account with a  CHEQUE"),
        (
            "我昨天在网上买了一本书，到现在还没有收到，请问什么时候能送到？",
            "我昨天在网上买了一本书，到现在还没有收到。请问什么时候能送到",
        ),
        ("Когда придёт мой перевод? Жду уже три дня", "Когда придёт мой перевод! Жду уже три дня."),
    ],
)
def test_near_duplicates_across_splits_are_named_in_any_language(one: str, other: str) -> None:
    found = audited(read(train=table([*clean(), (one, "no")]), test=table([*clean(12, 100), (other, "no")])))[1]
    assert set(found) == {"near-duplicate-across-splits"}
    assert found["near-duplicate-across-splits"].where[0].startswith("train: train row 13 (")


def test_texts_that_differ_in_what_counts_are_no_near_duplicates() -> None:
    pairs = [("Good 😀", "Good 😡"), ("please pay 10 now", "please pay 20 now"), ("my card is lost", "my card arrived")]
    train, test = ([*clean(12, first), *((pair[n], "no") for pair in pairs)] for n, first in ((0, 0), (1, 100)))
    assert audited(read(train=table(train), test=table(test)))[1] == {}


def test_pairs_are_near_duplicates_only_where_both_sides_are() -> None:
    premise = "A man in a red shirt is playing the guitar on a large stage in the evening"
    rows = {"premise": [premise, "x y"], "hypothesis": ["Somebody makes music", "z"], "label": [0, 1]}
    other = {"premise": [premise, "u v"], "hypothesis": ["Nobody is outside today", "w"], "label": [1, 0]}
    found = audited(read(train=Dataset.from_dict(rows), test=Dataset.from_dict(other)))[1]
    assert "near-duplicate-across-splits" not in found
    assert "duplicate-across-splits" not in found


def test_a_sample_of_very_many_rows_is_looked_at_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "MOST_ROWS", 10)
    found = audited(read(train=table(clean(20)), test=table(clean(4, 100))))[1]
    assert "10 of 24 rows" in found["near-duplicates-sampled"].message


def test_bucketing_finds_what_comparing_all_with_all_finds() -> None:
    random = np.random.default_rng(1)
    train = [sentence(seed) for seed in range(200)]
    test = []
    for text in train[:100]:
        letters = list(text)
        for place in random.integers(0, len(letters), random.integers(1, 4)):
            letters[place] = "z"
        test.append("".join(letters))
    found = audited(
        read(
            train=table([(t, i % 2) for i, t in enumerate(train)]), test=table([(t, i % 2) for i, t in enumerate(test)])
        )
    )[1]
    grams = [near.shingles(text) for text in train]
    truth = sum(
        max(len(grams[i] & near.shingles(text)) / len(grams[i] | near.shingles(text)) for i in range(200))
        >= near.JACCARD
        for text in test
        if text not in train
    )
    assert truth > 30
    assert found["near-duplicate-across-splits"].count >= 0.98 * truth


def test_label_faults_of_one_class() -> None:
    found = planted(*((sentence(200 + n), "Yes ") for n in range(6)), ("a lonely row", "odd"))
    assert {"similar-class-names", "few-rows", "label-in-one-split-only"} <= set(found)
    assert audited(read(train=table([(t, "no") for t, _ in clean()])))[1]["one-class-only"].level == "error"
    measured = read(train=table([(sentence(n), f"{n / 7:.3f}") for n in range(30)]))
    assert "labels-look-like-numbers" in {finding.code for finding in measured.findings}


def test_label_faults_of_several_classes() -> None:
    found = planted(("nothing here", ""), (sentence(300), "yes|Yes"), labels="multi")
    assert found["rows-without-labels"].where == ("train: train row 13",)
    assert "similar-class-names" in found
    same = audited(read("multi", train=table([(t, "a|b") for t, _ in clean()])), "multi")[1]
    assert same["constant-label"].level == "error"
    torn = planted(("twice the same", "yes|no"), ("twice the same", "no"), labels="multi")
    assert "twice" not in str(torn["duplicate-with-other-label"].where)
    assert "(no, yes)" in torn["duplicate-with-other-label"].where[0]


def test_label_faults_of_numbers() -> None:
    rows = [(sentence(n), n % 5) for n in range(20)]
    found = audited(read("number", train=table([*rows, ("far away", 900), (rows[0][0], 3)])), "number")[1]
    assert found["label-outlier"].where == ("train: train row 21 (900)",)
    assert "duplicate-with-other-label" in found
    same = audited(read("number", train=table([(text, 3) for text, _ in rows])), "number")[1]
    assert same["constant-label"].level == "error"


def test_a_frequent_text_and_torn_groups_are_named() -> None:
    found = planted(*[("(no comment)", "no")] * 25)
    assert found["frequent-text"].count == 25
    rows = {"text": [t for t, _ in clean()], "label": [y for _, y in clean()], "user": ["u"] * 12}
    more = {**rows, "text": [t for t, _ in clean(12, 100)]}
    splits = {"train": Dataset.from_dict(rows), "test": Dataset.from_dict(more)}
    tables = read_texts(DataRequest("sample:x", group_by="user", samples=lambda _: splits), "single")
    assert audited(tables)[1]["group-across-splits"].where == ("u (train, test)",)


def test_the_fingerprint_follows_the_text_and_not_the_order() -> None:
    one, same, other = (audited(read(train=table(rows)))[0] for rows in (clean(), clean()[::-1], clean(12, 1)))
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)


def test_an_audit_of_a_selection_lays_digests_beside_the_right_rows() -> None:
    tables = read("multi", train=table([(sentence(n), "a|b" if n % 3 else "b") for n in range(40)]))
    splits, _ = complete(tables.splits, lambda rows: [len(x) for x in rows["label"][:]], 3)
    made, _ = audited(Tables(splits, (), tables.names), "multi")
    whole = audited(tables, "multi")[0].splits["train"]
    want = dict(zip(whole["text"][:], whole[CONTENT][:], strict=True))
    for rows in made.splits.values():
        assert [want[text] for text in rows["text"][:]] == rows[CONTENT][:]


# --- other data, and prediction -------------------------------------------------------------------------------------------


def test_labels_are_aligned_with_the_model() -> None:
    facts = {"labels": "single", "classes": ["maybe", "yes", "no"]}
    tables = align_texts(read(test=table(clean(4))), facts, "single")
    assert tables.splits["test"]["label"][:] == [2, 1, 2, 1]
    many = align_texts(read("multi", test=table([("x", "yes|no"), ("y", "")])), facts, "multi")
    assert many.splits["test"]["label"][:] == [[1, 2], []]
    assert (
        align_texts(read("number", test=table([("x", 3)])), {"labels": "number"}, "number").splits["test"]["label"][0]
        == 3
    )
    with pytest.raises(DataError, match="does not know: yes"):
        align_texts(read(test=table(clean(4))), {"classes": ["no"]}, "single")
    with pytest.raises(DataError, match="none of the 1 test rows has a text"):
        align_texts(read(test=table([("", "no")])), facts, "single")


def test_inputs_are_texts_files_tables_and_folders(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("from a file")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.txt").write_text("from below")
    (tmp_path / "rows.csv").write_text("review,label\nfirst,x\nsecond,y\n")
    given = [
        "plain text",
        str(tmp_path / "a.txt"),
        str(tmp_path),
        str(tmp_path / "rows.csv"),
        "x" * 70_000,
        "a\0b",
    ]
    rows = read_inputs(given)
    assert rows["text"][:] == [
        "plain text",
        "from a file",
        "from a file",
        "from below",
        "first",
        "second",
        "x" * 70_000,
        "a\0b",
    ]
    assert rows["origin"][:6] == [
        "plain text",
        given[1],
        str(tmp_path / "a.txt"),
        str(tmp_path / "deep/b.txt"),
        "rows.csv row 1",
        "rows.csv row 2",
    ]
    assert len(rows["origin"][6]) == 200
    with pytest.raises(DataError, match="character 4 is not UTF-8"):
        read_inputs(["caf\udce9"])
    (tmp_path / "odd.md").write_text("x")
    (tmp_path / "none").mkdir()
    for wrong in ("odd.md", "none"):
        with pytest.raises(DataError, match=wrong):
            read_inputs([str(tmp_path / wrong)])


def test_a_column_of_the_users_called_origin_names_no_rows_and_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("origin,text,label\n" + "".join(f"web,words {n},{n % 2}\n" for n in range(6)))
    tables = read_texts(DataRequest(str(tmp_path / "train.csv")), "single")
    assert tables.splits["train"]["origin"][:2] == ["train.csv row 1", "train.csv row 2"]
    assert tables.columns == {"text": "text", "label": "label"}
    tables = read_texts(DataRequest(str(tmp_path / "train.csv"), {"text": "origin"}), "single")
    assert tables.splits["train"]["text"][:] == ["web"] * 6 and tables.columns["text"] == "origin"
    assert read_inputs([str(tmp_path / "train.csv")])["origin"][:1] == ["train.csv row 1"]


def test_inputs_of_pairs_are_parted_by_a_tab(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("premise\thypothesis\nc\td\n")
    rows = read_inputs(["a\tb", str(tmp_path / "pairs.tsv")], pair=True)
    assert (rows["text"][:], rows["text_pair"][:]) == (["a", "c"], ["b", "d"])
    with pytest.raises(DataError, match="no tab"):
        read_inputs(["a b"], pair=True)


# --- the real packs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pack", "rows", "classes", "near_rows"), [("sst2", 9613, 2, 0), ("banking77", 13083, 77, 150)]
)
def test_a_real_pack_reads_right_and_its_audit_takes_seconds(
    pack: str, rows: int, classes: int, near_rows: int
) -> None:
    if not (PACKS / pack).is_dir():
        pytest.skip(f"the real data is not there: no folder {PACKS / pack}")
    tables = read_texts(DataRequest(str(PACKS / pack)), "single")
    start = time.perf_counter()
    tables, found = audited(tables)
    assert time.perf_counter() - start < 30
    assert sum(map(len, tables.splits.values())) == rows
    assert len(tables.names) == classes
    near_found = found.get("near-duplicate-across-splits")
    assert near_rows <= (near_found.count if near_found else 0) <= 1.5 * near_rows


@pytest.mark.parametrize("name", ["notes.txt", "no/such/table.csv", "rows.JSONL"])
def test_a_file_that_is_not_there_is_not_taken_for_a_text(name: str) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_inputs([name])
    assert read_inputs([f"see {name}"])["text"][:] == [f"see {name}"]


def test_many_lines_are_one_table_and_keep_their_order_among_files(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("from a file", encoding="utf-8")
    lines = [f"line {number}" for number in range(5000)]
    rows = read_inputs([*lines, str(tmp_path / "one.txt"), "last"])
    assert rows["text"][:] == [*lines, "from a file", "last"]
