"""Does memory grow with the size of a table? `graft inspect` on generated CSV files of several numbers of rows.

    python benchmarks/text_memory.py --rows 10000 1000000 --characters 3000

Each file is written, inspected in a process of its own and deleted. What counts is `peak_anonymous_mb`: memory that the
process holds for itself. `peak_resident_mb` also counts pages of mapped files, which the system takes back when it
needs them. `--only-data` leaves out the task's own audit: read, split, fingerprint. Linux only. Prints JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_CLASSES = ("billing", "delivery", "praise", "question")
_SAMPLED = 0.05  # seconds
_MB = 1 << 20

_DATA = """
import json, sys, time
from graftwork.data.columns import encode_labels, map_columns
from graftwork.data.fingerprint import fingerprint
from graftwork.data.splits import complete
from graftwork.data.tables import find_tables, read_tables
from graftwork.interfaces.data import Tables
from pathlib import Path

def said(step):
    global start
    print(f"{step}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    start = time.perf_counter()

start = time.perf_counter()
path = Path(sys.argv[1])
rows, _ = read_tables(path, find_tables(path)[0])
rows, _ = map_columns(rows, {"text": (), "label": ()}, {}, None, str(path))
said("read")
rows, names, _ = encode_labels(rows, str(path))
said("labels")
splits, _ = complete(rows, lambda rows: rows["label"][:], 0)
said("split")
print(json.dumps({"fingerprint": fingerprint(Tables(splits, (), names)), "rows": {n: len(r) for n, r in splits.items()}}))
said("fingerprint")
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[200, 2_000], help="rows of each file")
    parser.add_argument("--characters", type=int, default=300, help="characters of text in a row, about")
    parser.add_argument("--task", default="text-classification")
    parser.add_argument(
        "--only-data", action="store_true", help="read, split and fingerprint, without the task's audit"
    )
    parser.add_argument("--folder", type=Path, help="where files and the cache lie meanwhile; else a temporary folder")
    given = parser.parse_args(arguments)
    results = []
    for rows in given.rows:
        with TemporaryDirectory(dir=given.folder) as name:
            file = Path(name) / "messages.csv"
            generate(file, rows, given.characters)
            words = [sys.executable, "-m", "graftwork", "inspect", "--data", str(file), "--task", given.task, "--json"]
            if given.only_data:
                words = [sys.executable, "-c", _DATA, str(file)]
            measured = measure(words, {"GRAFTWORK_CACHE": str(Path(name) / "cache")})
            results.append({"rows": rows, "file_mb": round(file.stat().st_size / _MB, 1), **measured})
            print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    print(json.dumps({"characters": given.characters, "only_data": given.only_data, "results": results}, indent=1))


def generate(file: Path, rows: int, characters: int) -> None:
    """A CSV of text, label and an id; every row of different sentences in quotes, a tenth with a newline or a quote."""
    chance = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyzäéß"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 10))) for _ in range(20_000)]
    ends = [". ", ". ", "! ", '" ', ".\n", ", "]
    sentences = [" ".join(chance.choices(words, k=14)) + chance.choice(ends) for _ in range(20_000)]
    each = max(1, characters // 97)
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["id", "text", "label"])
        for row in range(rows):
            writer.writerow([row, "".join(chance.choices(sentences, k=each)), _CLASSES[row % len(_CLASSES)]])


def measure(words: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """Run a command; peak memory of its process with all its children, sampled, and seconds.

    Raises:
        SystemExit: it failed; it has said why.
    """
    start = time.perf_counter()
    peaks = {"RssAnon": 0, "VmRSS": 0}
    with subprocess.Popen(words, env={**os.environ, **environment}, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            family = _family(process.pid)
            for name in peaks:
                peaks[name] = max(peaks[name], sum(_status(pid).get(name, 0) for pid in family))
            time.sleep(_SAMPLED)
    if process.returncode:
        raise SystemExit(f"ended with exit code {process.returncode}: {words[:4]}")
    return {
        "peak_anonymous_mb": round(peaks["RssAnon"] / 1024),
        "peak_resident_mb": round(peaks["VmRSS"] / 1024),
        "seconds": round(time.perf_counter() - start, 1),
    }


def _family(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:  # it ended meanwhile
        return []
    return [pid, *(member for child in children for member in _family(child))]


def _status(pid: int) -> dict[str, int]:
    """Kilobytes by name."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}


if __name__ == "__main__":
    main()
