"""Texts as token numbers: made once, kept in Arrow, found again by a fingerprint of the texts and the tokenizer."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from graftwork import UsageError
from graftwork.cache.room import cache_folder, going_without, touch, write_once
from graftwork.interfaces import TextInput

if TYPE_CHECKING:
    from datasets import Dataset
    from tokenizers import Tokenizer

FORMAT = "1"
BATCH = 2_000
"""Rows that are written together."""

TOGETHER = 200
"""Rows that are tokenised together: the library's own form of a row takes a hundred times the memory of its numbers."""

IN_MEMORY_CHARACTERS = 4_000_000
"""Texts of no more characters together are tokenised anew in each run: that takes a second, and leaves no files about."""

SCHEMA = pa.schema([("ids", pa.list_(pa.int32())), ("second", pa.int32()), ("full", pa.int32())])

# Loader processes are forked after this one has tokenised; the library would warn, and it is safe: they never tokenise.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


class TokenTable:
    """Token numbers of every row, special tokens included, cut at the input's length.

    Args:
        table: columns `ids`; `second`, where the second text of a pair begins in them (0 without one); `full`, how many
            tokens the row would have uncut.
        path: the Arrow file that the table is mapped from, or None when it is held in memory.
    """

    def __init__(self, table: pa.Table, path: Path | None = None) -> None:
        self._table = table
        self._path = path
        self._chunks = [
            (chunk.values.to_numpy(), chunk.offsets.to_numpy()) for chunk in table["ids"].chunks if len(chunk)
        ]
        self._starts = np.cumsum([0, *(len(offsets) - 1 for _, offsets in self._chunks)]).tolist()
        self._second = table["second"].to_numpy()
        self.full: NDArray[np.int32] = table["full"].to_numpy()
        """[rows], tokens that each row has uncut."""
        self.sizes: NDArray[np.int32] = np.concatenate(
            [np.diff(offsets) for _, offsets in self._chunks] or [np.zeros(0, dtype=np.int32)]
        )
        """[rows], tokens that each row has here."""

    def __len__(self) -> int:
        return len(self.full)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self._path, "table": None if self._path else self._table}

    def __setstate__(self, state: dict[str, Any]) -> None:
        path = state["path"]
        self.__init__(_map(path) if path else state["table"], path)  # type: ignore[misc]

    def row(self, number: int) -> tuple[NDArray[np.int32], int]:
        """A row's token numbers, and where its second text begins (0 where there is none)."""
        chunk = bisect_right(self._starts, number) - 1
        values, offsets = self._chunks[chunk]
        at = number - self._starts[chunk]
        return values[offsets[at] : offsets[at + 1]], int(self._second[number])


def load_tokenizer(input: TextInput) -> Tokenizer:
    """The tokenizer of an input, without padding and truncation.

    Raises:
        UsageError: its text is not that of a tokenizer.json.
    """
    from tokenizers import Tokenizer

    if not input.tokenizer:
        raise UsageError("the backbone has no tokenizer", hint="Take weights that bring one, or hf:NAME")
    try:
        tokenizer = Tokenizer.from_str(input.tokenizer)
    except Exception as error:  # the library raises plain Exception
        raise UsageError(f"the backbone's tokenizer cannot be read ({str(error)[:160]})") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True  # a "[SEP]" that somebody typed is text
    return tokenizer


def tokenise(rows: Dataset, input: TextInput) -> TokenTable:
    """Token numbers of the columns `text` and, where there is one, `text_pair`.

    Args:
        rows: read in batches; only token numbers are kept, in memory for little text and where the cache cannot
            be written, else in a mapped Arrow file.
        input: the tokenizer and the length at which rows are cut; of a pair, the longer text is cut first.
    """
    tokenizer = load_tokenizer(input)
    names = [name for name in ("text", "text_pair") if name in rows.column_names]
    texts = rows.select_columns(names)
    key, characters = _fingerprint(texts, names, input)
    if characters > IN_MEMORY_CHARACTERS:
        path = cache_folder("tokens") / f"{key}.arrow"
        try:
            if path.is_file():
                touch(path)
            else:
                write_once(path, lambda file: _write(file, _encode(texts, names, tokenizer, input.length)))
            return TokenTable(_map(path), path)
        except OSError as error:
            going_without(error)
    return TokenTable(pa.Table.from_batches(_encode(texts, names, tokenizer, input.length), SCHEMA))


def _write(file: Path, batches: Iterator[pa.RecordBatch]) -> None:
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _map(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _fingerprint(texts: Dataset, names: Sequence[str], input: TextInput) -> tuple[str, int]:
    """A key for these texts, in this order, under this tokenizer; and how many characters they have."""
    import tokenizers

    digest = hashlib.sha256(f"{FORMAT} {tokenizers.__version__} {input.length} {names}".encode())
    digest.update(input.tokenizer.encode())
    characters = 0
    for batch in texts.iter(batch_size=BATCH):
        for name in names:
            lengths = [len(text) for text in batch[name]]
            characters += sum(lengths)
            digest.update(str(lengths).encode())
            digest.update("".join(batch[name]).encode())
    return digest.hexdigest()[:40], characters


def _encode(texts: Dataset, names: Sequence[str], tokenizer: Tokenizer, length: int) -> Iterator[pa.RecordBatch]:
    for batch in texts.iter(batch_size=BATCH):
        inputs = batch[names[0]] if len(names) == 1 else list(zip(batch[names[0]], batch[names[1]], strict=True))
        ids: list[NDArray[np.int32]] = []
        second: list[int] = []
        full: list[int] = []
        for start in range(0, len(inputs), TOGETHER):
            made = _encode_some(inputs[start : start + TOGETHER], tokenizer, length)
            ids += made[0]
            second += made[1]
            full += made[2]
        columns = (ids, second, full)
        yield pa.record_batch(
            [pa.array(column, SCHEMA.field(at).type) for at, column in enumerate(columns)], schema=SCHEMA
        )


def _encode_some(
    inputs: Sequence[Any], tokenizer: Tokenizer, length: int
) -> tuple[list[NDArray[np.int32]], list[int], list[int]]:
    """Texts, or pairs of them, as the columns of `SCHEMA`."""
    tokenizer.no_truncation()
    encodings = tokenizer.encode_batch_fast(inputs)
    full = [len(encoding) for encoding in encodings]
    long = [at for at, size in enumerate(full) if size > length]
    if long:
        tokenizer.enable_truncation(length, strategy="longest_first")
        for at, encoding in zip(long, tokenizer.encode_batch_fast([inputs[at] for at in long]), strict=True):
            encodings[at] = encoding
    second = [0] * len(inputs)
    if inputs and not isinstance(inputs[0], str):
        second = [encoding.type_ids.index(1) if 1 in encoding.type_ids else 0 for encoding in encodings]
    return [np.asarray(encoding.ids, dtype=np.int32) for encoding in encodings], second, full
