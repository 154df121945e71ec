"""A record of what the command does, to the bit: run it before and after a change of the code, and compare.

    python tests/record.py write OUT.json [--only NAME]…
    python tests/record.py compare A.json B.json [--only NAME]…

`write` runs tests/record_configurations.py through `python -m graftwork` in fresh processes and keeps digests of what they
left, without seconds, rates, memory, paths and versions. `compare` names each thing that differs; what only B has is listed
apart and is no difference. Nothing of graftwork is imported, so that a record outlives every move inside.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from record_configurations import COMMON, CONFIGURATIONS, Configuration, write_inputs

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "GRAFTWORK_OFFLINE": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONHASHSEED": "0",
}
UNREPEATABLE = {"seconds", "fit_seconds", "samples_per_second", "peak_memory_bytes", "versions", "graftwork"}
"""Keys left out wherever they stand: time, memory, and the versions that ran."""

LONGEST_TEXT = 500
MOST_ENTRIES = 200
"""Characters of a text, entries of a list or table that are kept as they are; of longer ones (a tokenizer) a digest."""

Record = dict[str, dict[str, Any]]


class Failed(Exception):
    """A command that ended with another code than 0."""


# Writing: run, then read.


def write(target: Path, names: list[str]) -> bool:
    """Run the configurations in order and keep their record; whether all of them worked."""
    chosen = [configuration for configuration in CONFIGURATIONS if not names or configuration.name in names]
    wanted = {configuration.name for configuration in chosen}
    runs = with_needed(wanted)
    record: Record = {}
    with tempfile.TemporaryDirectory(prefix="record-") as temporary:
        folder = Path(temporary).resolve()
        write_inputs(folder / "inputs")
        for configuration in CONFIGURATIONS:
            if configuration.name not in runs:
                continue
            started = time.monotonic()
            try:
                found = recorded(configuration, folder)
            except Failed as failure:
                found = {"failed": item(str(failure), folder)}
                say(str(failure))
            say(f"{configuration.name}: {time.monotonic() - started:.1f} s")
            if configuration.name in wanted:
                record[configuration.name] = found
                target.write_text(json.dumps({"format": 1, "configurations": record}, indent=1, ensure_ascii=False))
    return not any("failed" in found for found in record.values())


def with_needed(names: set[str]) -> set[str]:
    """The configurations and those that they start from."""
    needed = set(names)
    for configuration in reversed(CONFIGURATIONS):
        if configuration.name in needed:
            needed |= configuration.needs()
    return needed


def recorded(configuration: Configuration, folder: Path) -> dict[str, Any]:
    """Run one configuration and read what it left; items by name.

    Raises:
        Failed: a command did not end well.
    """
    cache = folder / "cache" / (configuration.cache_of or configuration.name)
    found = {}
    if configuration.model:
        out = Path(*placed([configuration.model], folder))
    else:
        out = folder / "runs" / configuration.name
        words = ["train", *COMMON.split(), *placed(configuration.words.split(), folder), "--out", str(out)]
        if configuration.killed:
            kill_at_first_checkpoint(words, out, cache)
            words = ["train", "--out", str(out), "--resume"]
        command(words, cache)
        found = files_of(out, folder)
    if configuration.predict:
        written = folder / "predicted" / configuration.name
        inputs = placed(configuration.predict, folder)
        said = command(["predict", str(out), *inputs, "--json", "--device", "cpu", "--out", str(written)], cache)
        found["predict --json"] = item(json.loads(said), folder)
        for path in sorted(written.glob("*")):
            found[f"predict: {path.name}"] = item(digest(path.read_bytes()), folder)
    if configuration.evaluate:
        said = command(["evaluate", str(out), *configuration.evaluate.split(), "--json", "--device", "cpu"], cache)
        found["evaluate --json"] = item(json.loads(said), folder)
    return found


def placed(words: Iterable[str], folder: Path) -> list[str]:
    """Words with the folders that `{inputs}` and `{NAME}` stand for."""
    places = {"{inputs}": folder / "inputs"} | {f"{{{c.name}}}": folder / "runs" / c.name for c in CONFIGURATIONS}
    found = []
    for word in words:
        for mark, place in places.items():
            word = word.replace(mark, str(place))
        found.append(word)
    return found


def environment(cache: Path) -> dict[str, str]:
    """For a command: one thread, no network, its own folder of kept states."""
    return {**os.environ, **ENVIRONMENT, "GRAFTWORK_CACHE": str(cache)}


def command(words: list[str], cache: Path) -> str:
    """Run `graft WORDS` to its end; what it printed.

    Raises:
        Failed: with the last lines that it said.
    """
    line = [sys.executable, "-m", "graftwork", *words]
    done = subprocess.run(line, capture_output=True, text=True, env=environment(cache), timeout=600)
    if done.returncode:
        raise Failed(f"graft {words[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def kill_at_first_checkpoint(words: list[str], out: Path, cache: Path) -> None:
    """Start `graft WORDS`, and end it with SIGKILL as soon as there is a checkpoint.

    Raises:
        Failed: it ended before it could be killed.
    """
    line = [sys.executable, "-m", "graftwork", *words]
    silent = subprocess.DEVNULL
    process = subprocess.Popen(line, stdout=silent, stderr=silent, env=environment(cache))
    try:
        while process.poll() is None and not list(out.glob("checkpoints/step-*.safetensors")):
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)  # does nothing when it has ended
        process.wait()
    if process.returncode != -signal.SIGKILL or (out / "summary.json").exists():
        raise Failed(f"graft {words[0]} ended with {process.returncode} before it was killed")


def files_of(out: Path, folder: Path) -> dict[str, Any]:
    """The items of a run directory."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.suffix == ".safetensors":
            found[name] = item({"file": digest(path.read_bytes()), "tensors": tensors_of(path)}, folder)
        elif path.suffix == ".json":
            found[name] = item(json.loads(path.read_text(encoding="utf-8")), folder)
        elif path.suffix == ".jsonl":
            found[name] = item([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()], folder)
        elif path.suffix == ".parquet":
            found[name] = item(columns_of(path, folder), folder)
    return found


def tensors_of(path: Path) -> dict[str, str]:
    """A digest of each tensor, with its type and shape."""
    from safetensors.numpy import load_file

    return {
        name: digest(f"{value.dtype} {value.shape}".encode() + value.tobytes())
        for name, value in load_file(path).items()
    }


def columns_of(path: Path, folder: Path) -> dict[str, Any]:
    """The number of rows, and a digest of each column as JSON."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path).to_pydict()
    columns = {name: digest(as_json(canonical(values, folder)).encode()) for name, values in table.items()}
    return {"rows": len(next(iter(table.values()), [])), "columns": columns}


def item(value: Any, folder: Path) -> dict[str, Any]:
    """A digest, and the values it was made from, long ones shortened."""
    value = canonical(value, folder)
    return {"digest": digest(as_json(value).encode()), "values": shortened(value)}


def canonical(value: Any, folder: Path) -> Any:
    """A JSON value without what is never the same twice."""
    if isinstance(value, dict):
        return {key: canonical(inner, folder) for key, inner in value.items() if key not in UNREPEATABLE}
    if isinstance(value, list):
        return [canonical(inner, folder) for inner in value]
    return value.replace(str(folder), "FOLDER") if isinstance(value, str) else value


def shortened(value: Any) -> Any:
    """A JSON value in which long texts, long lists of numbers and large tables are digests."""
    if isinstance(value, dict) and len(value) <= MOST_ENTRIES:
        return {key: shortened(inner) for key, inner in value.items()}
    if isinstance(value, list) and len(value) <= MOST_ENTRIES:
        return [shortened(inner) for inner in value]
    text = as_json(value)
    return value if len(text) <= LONGEST_TEXT else f"digest {digest(text.encode())}"


def as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=digest)  # bytes: masks in a table


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def say(line: str) -> None:
    sys.stderr.write(line + "\n")


# Comparing.


def compare(before: Record, after: Record) -> tuple[list[str], list[str], int]:
    """What differs, what is only in `after`, and how many configurations differ in nothing."""
    different, new, equal = [], [], 0
    for name in before:
        if name not in after:
            different.append(f"{name}: was not run")
            continue
        found = list(differences(before[name], after[name]))
        different += [f"{name}: {line}" for line, is_new in found if not is_new]
        new += [f"{name}: {line}" for line, is_new in found if is_new]
        equal += all(is_new for _, is_new in found)
    new += [f"{name}: is new" for name in after if name not in before]
    return different, new, equal


def differences(before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """One line for each thing that differs in a configuration, and whether it is only new."""
    for name in {**before, **after}:
        if name not in after:
            yield f"{name} is gone", False
        elif name not in before:
            yield f"{name} is new", name != "failed"
        elif before[name]["digest"] != after[name]["digest"]:
            told = list(value_differences("", before[name]["values"], after[name]["values"]))
            for line, is_new in told:
                yield f"{name}: {line}", is_new
            if not told:  # in the part of a long value that was not kept
                yield f"{name}: differs", False


def value_differences(path: str, before: Any, after: Any) -> Iterator[tuple[str, bool]]:
    """As `differences`, inside a JSON value."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            inner = f"{path}.{key}".lstrip(".")
            if key not in after:
                yield f"{inner} is gone (was {brief(before[key])})", False
            elif key not in before:
                yield f"{inner} is new ({brief(after[key])})", True
            else:
                yield from value_differences(inner, before[key], after[key])
    elif path == "settings" and isinstance(before, list) and isinstance(after, list):  # of plan.json: known by name
        by_name = [{setting["name"]: setting for setting in settings} for settings in (before, after)]
        yield from value_differences("settings ", *by_name)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, pair in enumerate(zip(before, after, strict=True)):
            yield from value_differences(f"{path}[{number}]", *pair)
    elif before != after or type(before) is not type(after):
        yield f"{path or 'the value'} is {brief(after)}, was {brief(before)}", False


def brief(value: Any) -> str:
    text = as_json(value)
    return text if len(text) <= 80 else f"{text[:70]}… ({len(text)} characters)"


def read(path: Path, names: list[str]) -> Record:
    """The record of a file, of all configurations or of those named."""
    record: Record = json.loads(path.read_text(encoding="utf-8"))["configurations"]
    return {name: found for name, found in record.items() if not names or name in names}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("write", help="run the configurations and keep their record")
    writing.add_argument("target", type=Path, metavar="OUT.json")
    comparing = commands.add_parser("compare", help="hold two records against each other")
    comparing.add_argument("before", type=Path, metavar="A.json")
    comparing.add_argument("after", type=Path, metavar="B.json")
    for one in (writing, comparing):
        one.add_argument("--only", action="append", default=[], metavar="NAME", help="one configuration; repeatable")
    given = parser.parse_args()
    unknown = set(given.only) - {configuration.name for configuration in CONFIGURATIONS}
    if unknown:
        parser.error(f"no configuration {', '.join(sorted(unknown))}")
    if given.command == "write":
        return 0 if write(given.target, given.only) else 1
    before, after = read(given.before, given.only), read(given.after, given.only)
    different, new, equal = compare(before, after)
    for title, lines in (("different:", different), ("only in the second, so candidates for what was wanted:", new)):
        if lines:
            print(title, *lines, sep="\n  ")  # noqa: T201
    print(f"{equal} of {len(before)} equal")  # noqa: T201
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
