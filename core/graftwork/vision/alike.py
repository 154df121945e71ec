"""Pictures that belong together: the same file, or nearly the same picture. By the measure that the audit names leaks by."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from graftwork.data.alike import Linked, numbered, smallest_names
from graftwork.data.arrow import Texts, column_of
from graftwork.data.fingerprint import CONTENT
from graftwork.vision.earlier import EarlierLooks
from graftwork.vision.likeness import near_within
from graftwork.vision.look import digest_of

if TYPE_CHECKING:
    from datasets import Dataset

_BATCH = 256


def picture_contents(rows: Dataset) -> Sequence[str]:
    """A digest of what the file of every row holds, which is read and not decoded; an empty text where there is none.

    Args:
        rows: with `image`; of those that an audit of pictures alone has seen, with `content`, no file is read again.
    """
    if CONTENT in rows.column_names:
        return Texts(column_of(rows, CONTENT))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        batches = (batch["image"] for batch in rows.select_columns("image").iter(batch_size=_BATCH))
        return [content or "" for cells in batches for content in pool.map(digest_of, cells)]


def alike_pictures(rows: Dataset) -> list[str]:
    """A group for every row (`Task.alike`): the same pictures, and nearly the same ones, with all that they are linked by; an
    empty text for a row that cannot be read.

    Every picture is looked at; what looking showed is kept for the audit, where it took long enough.

    Args:
        rows: with `image`.
    """
    earlier = EarlierLooks()
    looks = earlier.look_at_all(rows)
    earlier.keep([looks])
    distinct, numbers = numbered(Texts(looks.content))
    _, first = np.unique(numbers, return_index=True)
    linked = Linked(len(distinct))
    near_within(looks.select(first), linked)
    names = smallest_names(distinct, linked.components)
    return ["" if row in looks.problems else names[number] for row, number in enumerate(numbers.tolist())]
