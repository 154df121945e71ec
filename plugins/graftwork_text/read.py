"""Texts and their labels from wherever they lie, under the columns `text`, `text_pair`, `label`, `origin` and `group`.

Text is never held as a list: columns stay in Arrow, mapped from disk where the source allows it. What the texts are worth
is told by `audit`; what a label is, by `labels`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from graftwork.classification.encode import encode
from graftwork.classification.forms import with_label_columns
from graftwork.classification.unlabelled import without_label_column
from graftwork.data.arrow import column_of, dataset_of
from graftwork.data.columns import LABEL_NAMES, guess_columns, map_columns, taken_columns, with_origin
from graftwork.data.folders import is_junk, read_class_folders
from graftwork.data.foreign import no_table
from graftwork.data.groups import group_by_name
from graftwork.data.sources import existing_path, open_hf, parse_source, unknown_scheme
from graftwork.data.splits import rename_splits
from graftwork.data.tables import SUFFIXES as TABLE_SUFFIXES
from graftwork.data.tables import find_tables, read_tables
from graftwork.errors import DataError
from graftwork.interfaces import DataRequest, Finding, Tables
from graftwork_text.clean import decoded_file, text_columns

if TYPE_CHECKING:
    from datasets import Dataset

TEXT_NAMES = (
    "text",
    "sentence",
    "review",
    "content",
    "message",
    "document",
    "question",
    "premise",
    "sentence1",
    "question1",
    "tweet",
    "utterance",
    "comment",
    "query",
    "body",
    "description",
    "comment_text",
    "review_text",
    "review_body",
    "tweet_text",
    "full_text",
    "clean_text",
    "message_text",
    "sms",
    "post",
    "phrase",
    "article",
    "abstract",
    "headline",
    "title",
)
"""Usual names of a text column, most likely first."""

LABELS = (
    *LABEL_NAMES,
    "sentiment",
    "intent",
    "topic",
    "topics",
    "tags",
    "emotion",
    "emotions",
    "rating",
    "stars",
    "score",
    "similarity",
    "relatedness_score",
    "label_text",
    "coarse_label",
)
"""Usual names of a label column, most likely first."""

PAIRS = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("question", "sentence"))
"""Columns that are a pair of texts where both are there."""

_BATCH = 1000
_CLASSES = 50
_ANSWER, _ANSWERS = "answer", frozenset({"accept", "reject", "ignore"})


def read_texts(request: DataRequest, labels: str) -> Tables:
    """Labelled texts from a table (CSV, TSV, JSON lines, Parquet), folders of .txt by class, `hf:` or `sample:`.

    Args:
        request: the source; `columns` may name the `text`, `text_pair` and `label` columns of a table; the option
            `label_separator` (default `|`) parts several labels that stand in one text.
        labels: `single`, `multi` or `number`.

    Returns:
        Splits with `text`, `text_pair` where rows are pairs, `label` (int64 class index; list of class indices; float64),
        `origin`, and `group` as text where `group_by` is given; class names by index (none for numbers).

    Raises:
        DataError: the source is missing, empty or in no form that is read here; says what was found there.
    """
    source = parse_source(request.source)
    if source.scheme == "path":
        return _read_path(existing_path(source.name), request, labels)
    if source.scheme == "sample":
        return _from_splits(request.samples(source.name), request, labels, [])
    if source.scheme == "hf":
        splits, findings = rename_splits(open_hf(source.name, source.argument), request.source)
        return _from_splits(splits, request, labels, findings)
    raise unknown_scheme(source, ["sample", "hf"])


def guesses_for(
    names: Sequence[Sequence[str]], columns: Mapping[str, str], group_by: str | None
) -> dict[str, Sequence[str]]:
    """Usual names by canonical column.

    `text_pair` is wanted only where the user names it, or where every split has a well-known pair and no column `text`.

    Args:
        names: column names of every split.
        columns: canonical column to the source's column, as the user gave it.
        group_by: the source's column of groups.
    """
    guesses: dict[str, Sequence[str]] = {"text": TEXT_NAMES}
    if "text_pair" in columns:
        return {**guesses, "text_pair": ()}
    lower = [{name.strip().lower(): name for name in split} for split in names]
    if "text" in columns or any("text" in split for split in lower):
        return guesses
    if all("text_pair" in split for split in lower):
        return {**guesses, "text_pair": ()}
    for first, second in PAIRS:
        there = all(first in split and second in split for split in lower)
        if there and (group_by or "").lower() not in (first, second):
            return {"text": (first,), "text_pair": (second,)}
    return guesses


def _read_path(path: Path, request: DataRequest, labels: str) -> Tables:
    if path.is_file() and path.suffix.lower() not in TABLE_SUFFIXES:
        hint = f"Give a table ({', '.join(sorted(TABLE_SUFFIXES))}), or a folder of CLASS/*.txt"
        raise no_table(path, hint)
    files, findings = _tables(path)
    if files:
        splits, more = read_tables(path, files)
        return _from_splits(splits, request, labels, [*findings, *more])
    _refuse_files_of_lines(path)
    folders = read_class_folders(path, {".txt"}, noun="text")
    if request.columns:
        raise DataError("class folders have no columns, so --column cannot be used", where=str(path))
    read: dict[str, Dataset] = {}
    damaged: list[str] = []
    for split, files_of in folders.splits.items():
        origins = [name for names in files_of.values() for name in names]
        labels_of = (label for label, names in files_of.items() for _ in names)
        read[split], bad = _files(zip(map(folders.root.joinpath, origins), labels_of, strict=True), origins)
        damaged += bad
    grouped, more = group_by_name(read, request.group_by, str(path))
    return encode(grouped, labels, request, [*folders.findings, *more, *_damage(damaged)])


def _refuse_files_of_lines(path: Path) -> None:
    """Refuse a folder of few files and no folders, as those of which each is a class and each line a text."""
    entries = [entry for entry in path.iterdir() if not is_junk(entry.name)] if path.is_dir() else []
    texts = sorted(entry for entry in entries if entry.suffix.lower() == ".txt" and entry.is_file())
    if not 2 <= len(texts) <= _CLASSES or any(entry.is_dir() for entry in entries):
        return
    names = ", ".join(file.name for file in texts[:3]) + (", …" if len(texts) > 3 else "")
    target = shlex.quote(str(path / "texts.tsv"))
    command = (
        f"(printf 'label\\ttext\\n'; for f in {shlex.quote(str(path))}/*.txt; do "
        f'sed "s/^/$(basename "$f" .txt)\\t/" "$f"; done) > {target}'
    )
    hint = f"If a file is a class and a line a text: {command}, then give {target}. If not, put each into a folder of its class"
    raise DataError(f"holds {len(texts)} texts ({names}) but no class folders", where=str(path), hint=hint)


def _tables(path: Path) -> tuple[dict[str, list[Path]], list[Finding]]:
    """The path's tables, unless it is folders of texts beside which tables lie about."""
    try:
        return find_tables(path)
    except DataError:
        if any(entry.is_dir() and not is_junk(entry.name) for entry in path.iterdir()):
            return {}, []
        raise


def _from_splits(
    splits: Mapping[str, Dataset], request: DataRequest, labels: str, findings: Sequence[Finding]
) -> Tables:
    splits, unlabelled = without_label_column(splits, request.columns.get("label"), {"label": LABELS})
    named = {split: with_origin(rows, split) for split, rows in splits.items()}
    named, rejected = _accepted(named, request)
    guesses = guesses_for([rows.column_names for rows in named.values()], request.columns, request.group_by)
    wanted = {**guesses, "label": LABELS}
    found = guess_columns(next(iter(named.values())).column_names, {**wanted, **dict.fromkeys(request.columns, ())})
    made: list[Finding] = []
    # Where the texts are not found, the message is to name the columns as they are.
    if "label" not in {**found, **request.columns} and "text" in {**found, **request.columns}:
        taken = [*found.values(), *request.columns.values(), request.group_by or ""]
        named, made = with_label_columns(named, taken, labels == "multi", request.source)
    mapped, more = map_columns(named, wanted, request.columns, request.group_by, request.source)
    more = [*unlabelled, *rejected, *made, *more]
    clean = {}
    damaged: list[str] = []
    for split, rows in mapped.items():
        clean[split], bad = text_columns(rows, f"{request.source} ({split})")
        damaged += bad
    tables = encode(clean, labels, request, [*findings, *more, *_damage(damaged)])
    return replace(tables, columns=taken_columns(named, wanted, request.columns, request.source))


def _accepted(splits: Mapping[str, Dataset], request: DataRequest) -> tuple[dict[str, Dataset], list[Finding]]:
    """Without what an annotator rejected or passed over: Prodigy writes such rows with their label, beside `answer`."""
    kept: dict[str, Dataset] = {}
    lost: list[str] = []
    for split, rows in splits.items():
        kept[split] = rows
        if _ANSWER not in rows.column_names or _ANSWER in (*request.columns.values(), request.group_by):
            continue
        answers = column_of(rows, _ANSWER)
        if not set(answers.unique().to_pylist()) <= _ANSWERS:
            continue
        other = [row for row, answer in enumerate(answers.to_pylist()) if answer != "accept"]
        if other:
            lost += [f"{split}: {rows[row]['origin']} ({answers[row].as_py()})" for row in other]
            kept[split] = rows.select(sorted(set(range(len(rows))) - set(other)))
    if not lost:
        return kept, []
    if not any(map(len, kept.values())):
        raise DataError(f"every row's {_ANSWER!r} is no accept", where=request.source)
    message = f"rows whose column {_ANSWER!r} says reject or ignore (Prodigy), left out: {len(lost):,}"
    return {split: rows for split, rows in kept.items() if len(rows)}, [
        Finding("rejected-row", "warning", message, tuple(lost[:5]), len(lost))
    ]


def _damage(damaged: Sequence[str]) -> list[Finding]:
    if not damaged:
        return []
    message = f"texts with bytes that are not UTF-8, which were replaced by U+FFFD: {len(damaged):,}"
    return [Finding("undecodable-bytes", "warning", message, tuple(damaged[:5]), len(damaged))]


def _files(rows: Iterable[tuple[Path, str]], origins: Sequence[str]) -> tuple[Dataset, list[str]]:
    """Files as rows with `text`, `label` (class name) and `origin`; names those with damaged bytes."""

    chunks: list[pa.Array] = []
    texts: list[str] = []
    labels: list[str] = []
    damaged: list[str] = []
    for (file, label), origin in zip(rows, origins, strict=True):
        text, broken = decoded_file(_bytes(file))
        damaged += [origin] if broken else []
        texts.append(text)
        labels.append(label)
        if len(texts) == _BATCH:  # Arrow keeps a text in its bytes alone
            chunks.append(pa.array(texts, pa.string()))
            texts = []
    chunks.append(pa.array(texts, pa.string()))
    table = pa.table({"text": pa.chunked_array(chunks), "label": labels, "origin": list(origins)})
    return dataset_of(table), damaged


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", where=str(file)) from None
