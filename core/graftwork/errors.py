"""The failures a user can meet, one class an exit code. Nothing here prints; `cli` does, in one place."""

from __future__ import annotations


class GraftworkError(Exception):
    """A failure with what happened, where, and what to do about it.

    Args:
        what: one sentence, no trailing full stop needed.
        where: file, row, YAML line or option; printed before the sentence.
        hint: the way out; printed after the sentence.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(str(self))

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        return f"{line}. {self.hint}" if self.hint else line


class RunFailed(GraftworkError):
    """The work started and could not be finished (exit code 1)."""

    exit_code = 1


class UsageError(GraftworkError):
    """Wrong usage or configuration (exit code 2)."""

    exit_code = 2


class DataError(GraftworkError):
    """The data cannot be used (exit code 3)."""

    exit_code = 3


class PluginError(GraftworkError):
    """A plugin failed (exit code 4)."""

    exit_code = 4


def did_you_mean(wrong: str, known: list[str]) -> str:
    """A hint that names the closest known names, or all of them when none is close."""
    import difflib

    close = difflib.get_close_matches(wrong, known, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    if not known:
        return "There is none"
    shown = ", ".join(sorted(known)[:12])
    return f"Known: {shown}{', …' if len(known) > 12 else ''}"
