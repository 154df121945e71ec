"""How long the rows are in a backbone's tokens, and what its limit cuts off."""

from __future__ import annotations

import numpy as np

from graftwork.interfaces import Finding, Tables, TextInput
from graftwork_text.tokens import tokenise

_SHOWN = 5
SHARE = 0.05
"""Share of rows; where more are cut it is a warning."""


def check_lengths(tables: Tables, input: TextInput) -> list[Finding]:
    """Findings `token-lengths` (always) and `texts-cut` (where rows are longer than the input takes)."""
    lengths: list[np.ndarray] = []
    cut: list[str] = []
    count = lost = 0
    for split, rows in tables.splits.items():
        full = tokenise(rows, input).full
        lengths.append(full)
        long = np.flatnonzero(full > input.length)
        count += len(long)
        lost += int((full[long] - input.length).sum())
        if len(cut) < _SHOWN and len(long):
            first = long[: _SHOWN - len(cut)].tolist()
            names = rows.select(first)["origin"]
            cut += [f"{split}: {name} ({full[row]:,} tokens)" for row, name in zip(first, names, strict=True)]
    every = np.concatenate(lengths)
    half, most, longest = (int(value) for value in np.quantile(every, [0.5, 0.95, 1.0], method="higher"))
    told = (
        f"tokens a row: {half:,} in the middle, {most:,} at 95 %, {longest:,} at most; the model takes {input.length:,}"
    )
    findings = [Finding("token-lengths", "note", told, (), len(every))]
    if count:
        share = count / len(every)
        message = (
            f"rows longer than the model's {input.length:,} tokens, cut there: {count:,} of {len(every):,} "
            f"({share:.1%}), with {lost / int(every.sum()):.1%} of all tokens"
        )
        findings.append(Finding("texts-cut", "warning" if share > SHARE else "note", message, tuple(cut), count))
    return findings
