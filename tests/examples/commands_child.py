"""Runs commands of `graft` one after the other in one process, which imports torch once: `commands_child.py JSON`.

Takes a list of lists of words; prints one of [exit code, stdout, stderr].
"""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout

from graftwork.cli import main


def run(words: list[str]) -> tuple[int, str, str]:
    """One command, as the shell would run it."""
    out, said = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(said):
        code = main(words)
    return code, out.getvalue(), said.getvalue()


if __name__ == "__main__":
    print(json.dumps([run(words) for words in json.loads(sys.argv[1])]))  # noqa: T201
