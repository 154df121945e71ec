"""What `graft predict` is given: names of files, texts, columns of tables, and what becomes of what cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

from graftwork.errors import DataError

BESIDE = "beside"
"""The column of `Task.read_inputs` with a table row's own cells, as one JSON object by column name, where they are wanted."""


def raise_it(error: DataError) -> None:
    """Stop at the first input that cannot be read."""
    raise error


@dataclass(frozen=True)
class Inputs(Sequence[str]):
    """New inputs in order, as `Task.read_inputs` gets them; a sequence of words like any other.

    Args:
        words: what the user named or wrote.
        contents: the numbers of those words that are texts themselves, whatever they look like: lines of standard input.
            They are never opened.
        columns: canonical column to a table's column, as the user gave it now.
        trained_columns: the same as the training's data had it; taken where a table has these columns.
        beside: whether rows of tables are to keep their own cells, in the column `BESIDE`.
        refuse: called with the reason for every input, or row of one, that cannot be read; the task then goes on without it. It
            raises what it is given unless somebody takes note.
        taken: called once, before the first prediction, with what all inputs that are to be predicted are called.
    """

    words: tuple[str, ...]
    contents: frozenset[int] = frozenset()
    columns: Mapping[str, str] = field(default_factory=dict)
    trained_columns: Mapping[str, str] = field(default_factory=dict)
    beside: bool = False
    refuse: Callable[[DataError], None] = raise_it
    taken: Callable[[Sequence[str]], None] = lambda _: None

    @classmethod
    def of(cls, inputs: Sequence[str]) -> Inputs:
        """Any words as inputs; where they are inputs already, they themselves."""
        return inputs if isinstance(inputs, cls) else cls(tuple(inputs))

    def __len__(self) -> int:
        return len(self.words)

    @overload
    def __getitem__(self, number: int) -> str: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[str]: ...
    def __getitem__(self, number: int | slice) -> str | Sequence[str]:
        return self.words[number]

    def names(self, wanted: str) -> Iterator[str]:
        """The words, for a task that takes files alone; a line of standard input is refused.

        Args:
            wanted: what it takes, for the message: `pictures`.
        """
        for number, word in enumerate(self.words):
            if number in self.contents:
                hint = "Name files on the command line, for example with … | xargs graft predict RUN"
                what = f"a line of standard input is a text, and this model takes {wanted}"
                self.refuse(DataError(what, where=word[:80], hint=hint))
            else:
                yield word
