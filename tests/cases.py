"""What people really have, tried on a `graft`: reads cases.yaml, runs its commands in fresh processes, judges what came back.

    python tests/cases.py [--graft PATH] [--only CASE]… [--was] [--jobs N] [--json FILE]

Every case is copied to a folder of its own before its commands run there. `now` says what is right, `was` what 0.1.0 did: one
file judges any version. The table counts right / refused with a way out / refused without one / lacking / wrong / crash. Nothing
of graftwork is imported.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
FILE = HERE / "cases.yaml"
SHARED = HERE.parents[1] / "shared" / "cases"

VERDICTS = ("right", "refused, way out works", "refused, no way out", "lacking", "wrong", "crash")
"""From best to worst. `lacking`: nothing false was said, but what was asked for is not there."""
EXPECTED = {"code", "rows", "classes", "codes", "no_codes", "says", "says_not", "lines", "holds", "follow"}
STEP = {"run", "was", "now", "times", "timeout", "else"}
CASE = {"case", "kind", "verdict", "inputs", "runs", "steps", "note"}

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "LC_ALL": "C.UTF-8",
    "V": "--task image-classification",
    "D": "--task detection",
    "S": "--task segmentation",
    "T": "--task text-classification",
    "TINY": "--device cpu --precision fp32 --compile off --workers 0 --seed 1",
    "MADE": f"python {HERE / 'cases_made.py'}",
}
"""Of every command; the last ones are abbreviations that commands use unquoted."""


@dataclass(frozen=True)
class Step:
    """A command and what is expected of it: any one of `now` is right."""

    run: str
    now: tuple[Mapping[str, Any], ...]
    was: tuple[Mapping[str, Any], ...] = ()
    times: int = 1
    timeout: float = 300
    otherwise: str = "wrong"


@dataclass(frozen=True)
class Case:
    """A row of a README: the folders it needs, the trained runs (name here: name in `runs`), its commands in order."""

    name: str
    kind: str
    verdict: str
    inputs: Mapping[str, str]
    steps: tuple[Step, ...]
    runs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """What a command left: its code (128 + N after signal N, 124 when it took too long) and its lines."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.out)
        except ValueError:
            return None

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("graft: error:")]

    @property
    def crashed(self) -> bool:
        return self.code >= 124 or "Traceback (most" in self.err or "error: unexpected" in self.err or self.code == 4


@dataclass(frozen=True)
class Judged:
    """A case's verdict, what is not right, what is not as it was, and what its commands left."""

    verdict: str
    wrong: list[str]
    otherwise: list[str] = field(default_factory=list)
    left: list[Done] = field(default_factory=list)


# Reading: the file, checked.


def load(path: Path = FILE) -> tuple[list[Case], dict[str, Any]]:
    """The cases and the trained runs that they name.

    Raises:
        ValueError: an entry that is not well formed, by its name.
    """
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    cases = [_case(entry) for entry in document["cases"]]
    for name, count in Counter(case.name for case in cases).items():
        if count > 1:
            raise ValueError(f"{name} stands {count} times")
    for case in cases:
        if unknown := set(case.runs.values()) - set(document["runs"]):
            raise ValueError(f"{case.name}: no run {unknown}")
    return cases, document["runs"]


def _case(entry: Mapping[str, Any]) -> Case:
    name = str(entry.get("case"))
    if not re.fullmatch(r"[vt]\d\d[a-z]?", name):
        raise ValueError(f"{name!r}: v or t and the number of its row is expected")
    if unknown := set(entry) - CASE:
        raise ValueError(f"{name}: unknown {unknown}")
    if entry.get("verdict") not in VERDICTS:
        raise ValueError(f"{name}: verdict is {entry.get('verdict')!r}, one of {VERDICTS} is expected")
    default = {"data": f"vision/{name[1:3]}"} if name[0] == "v" else {}
    inputs = entry.get("inputs", default)
    if isinstance(inputs, list):
        inputs = {each: f"text/{each}" for each in map(str, inputs)}
    steps = tuple(_step(name, step) for step in entry["steps"])
    if not any(step.was for step in steps):
        raise ValueError(f"{name}: no step says what was")
    return Case(name, entry["kind"], entry["verdict"], inputs, steps, entry.get("runs", {}))


def _step(name: str, step: Mapping[str, Any]) -> Step:
    if unknown := set(step) - STEP:
        raise ValueError(f"{name}: unknown {unknown}")
    if "now" not in step:
        raise ValueError(f"{name}: a step does not say what is right now: {step.get('run')}")
    done = subprocess.run(["bash", "-n", "-c", step["run"]], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{name}: {step['run']}: {done.stderr.strip()}")
    if step.get("else", "wrong") not in VERDICTS:
        raise ValueError(f"{name}: else is {step['else']!r}")
    now, was = _expectations(name, step["now"]), _expectations(name, step.get("was", []))
    return Step(
        step["run"], now, was, step.get("times", 1), step.get("timeout", 300), step.get("else", "wrong")
    )  # fmt: skip


def _expectations(name: str, given: Any) -> tuple[Mapping[str, Any], ...]:
    many = tuple(given) if isinstance(given, list) else (given,)
    for each in many:
        if unknown := set(each) - EXPECTED:
            raise ValueError(f"{name}: unknown {unknown}")
        for pattern in (*_list(each.get("says")), *_list(each.get("says_not"))):
            re.compile(pattern)
        for expression in _list(each.get("holds")):
            compile(expression, name, "eval")
        for step in each.get("follow", ()):
            _step(name, step)
    return many


def _list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


# Judging: what is not as expected, in words.


def differs(expected: Mapping[str, Any], done: Done, before: Sequence[Done] = (), folder: Path = Path()) -> list[str]:
    """What is not as expected; nothing where all is. `follow` is not looked at here."""
    wrong = []
    code = expected.get("code", 0)
    if done.code not in _list(code):
        wrong.append(f"code {done.code}, not {code}")
    # What was expected of 0.1.0 may be a crash; everything else that is refused says so in one line.
    if done.code and not done.crashed and len(done.errors) != 1 and done.code != 5:
        wrong.append(f"{len(done.errors)} error lines")
    wrong += _inspected(expected, done.json if isinstance(done.json, dict) else {})
    both = done.out + "\n" + done.err
    wrong += [f"does not say {p!r}" for p in _list(expected.get("says")) if not re.search(p, both, re.DOTALL)]
    wrong += [f"says {p!r}" for p in _list(expected.get("says_not")) if re.search(p, both, re.DOTALL)]
    if "lines" in expected and len(done.out.splitlines()) != expected["lines"]:
        wrong.append(f"{len(done.out.splitlines())} lines, not {expected['lines']}")
    names = {"json": done.json, "out": done.out, "err": done.err, "done": done, "before": before, "folder": folder}
    names |= {"re": re, "Path": Path, "loads": json.loads, "objects_differ": objects_differ}
    for expression in _list(expected.get("holds")):
        try:
            holds = eval(expression, names)
        except Exception as error:
            holds, expression = False, f"{expression} ({type(error).__name__}: {error})"
        if not holds:
            wrong.append(f"does not hold: {expression}")
    return wrong


def _inspected(expected: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    """What `graft inspect --json` printed, held against rows, classes and codes of findings."""
    rows = found.get("rows") or {}
    if "rows" in expected:
        wanted = expected["rows"]
        given = rows if isinstance(wanted, dict) else sum(rows.values())
        if given != wanted:
            yield f"rows {given}, not {wanted}"
    classes = (found.get("facts") or {}).get("classes")
    if "classes" in expected and sorted(classes or []) != sorted(map(str, expected["classes"])):
        yield f"classes {classes}, not {expected['classes']}"
    counts = Counter[str]()
    for finding in found.get("findings") or []:
        counts[finding["code"]] += finding["count"]
    for code in _list(expected.get("codes")):
        code, count = next(iter(code.items())) if isinstance(code, dict) else (code, None)
        if code not in counts or count not in (None, counts[code]):
            yield f"finding {code} ({count or 'any'}) is not there, but {dict(counts)}"
    yield from (f"finding {code} is there" for code in _list(expected.get("no_codes")) if code in counts)


def objects_differ(some: Sequence[Any], others: Sequence[Any], tolerance: float = 1e-4) -> int:
    """How many of two lists of predictions (of the same pictures, in the same order) are not the same."""
    return sum(not _alike(a, b, tolerance) for a, b in zip(some, others, strict=True))


def _alike(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        keys = (a.keys() | b.keys()) - {"input", "image", "image_id", "file", "mask", "drawn"}
        return all(key in a and key in b and _alike(a[key], b[key], tolerance) for key in keys)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_alike(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= tolerance * max(1.0, abs(a))
    return bool(a == b)


# Running: a folder of its own for every case.


class Bench:
    """Runs cases with one `graft`, at most `jobs` at once.

    Args:
        graft: the command.
        folder: where everything is written.
        shared: the folder with `vision` and `text`.
        runs: how the trained runs are made, by name.
    """

    def __init__(self, graft: Path, folder: Path, shared: Path, runs: Mapping[str, Any]) -> None:
        self.folder, self.shared, self.runs = folder, shared, runs
        tools = folder / "bin"
        tools.mkdir(parents=True)
        for name, path in {"graft": graft.absolute(), "python": sys.executable}.items():
            (tools / name).write_text(f'#!/bin/sh\nexec "{path}" "$@"\n')
            (tools / name).chmod(0o755)
        self._environment = {
            **os.environ, **ENVIRONMENT, "PATH": f"{tools}:{os.environ['PATH']}", "GRAFTWORK_CACHE": str(folder / "cache"),
        }  # fmt: skip
        self._locks = {name: threading.Lock() for name in runs}

    def missing(self, case: Case) -> str:
        """The first input that is not there, or nothing."""
        needed = [*case.inputs.values()]
        for name in case.runs.values():
            needed += self.runs[name].get("inputs", {}).values()
        return next((each for each in needed if not (self.shared / each).exists()), "")

    def judge(self, case: Case) -> Judged:
        """Its commands in order, each held against what is right and against what was."""
        folder = self.folder / "cases" / case.name
        self._fill(folder, case.inputs)
        for here, name in case.runs.items():
            shutil.copytree(self._trained(name), folder / here)
        verdicts, wrong, otherwise, left = ["right"], [], [], []
        for step in case.steps:
            for _ in range(step.times):
                done = self.run(step.run, folder, step.timeout)
                was = [differs(each, done, left, folder) for each in step.was]
                if was and all(was):
                    otherwise.append(f"{step.run}: {'; '.join(was[0])}")
                verdict, differences = self._against(step, done, left, folder)
                verdicts.append(verdict)
                wrong += [f"{step.run}: {each}" for each in differences]
            left.append(done)
        return Judged(max(verdicts, key=VERDICTS.index), wrong, otherwise, left)

    def _against(self, step: Step, done: Done, before: Sequence[Done], folder: Path) -> tuple[str, list[str]]:
        """One run of a command against all that may be right."""
        reasons: list[list[str]] = []
        for each in step.now:
            wrong = differs(each, done, before, folder)
            if not wrong:
                wrong = self._followed(each, folder)
                if not wrong:
                    refused = bool(each.get("follow")) or done.code in (2, 3)
                    return ("refused, way out works" if refused else "right"), []
            reasons.append(wrong)
        if done.crashed:
            verdict = "crash"
        elif done.code in (1, 2, 3):
            verdict = "refused, no way out"
        else:
            verdict = step.otherwise
        return verdict, [" / OR / ".join("; ".join(each) for each in reasons)]

    def _followed(self, expected: Mapping[str, Any], folder: Path) -> list[str]:
        """What does not work when the way out of a refusal is gone."""
        for given in expected.get("follow", ()):
            step = _step("follow", given)
            done = self.run(step.run, folder, step.timeout)
            found = [differs(each, done, (), folder) for each in step.now]
            if all(found):
                return [f"followed: {step.run}: {'; '.join(found[0])}: {done.err.strip()[-300:]}"]
        return []

    def run(self, command: str, folder: Path, timeout: float) -> Done:
        """A command in bash, in a group of its own, so that nothing of it outlives its time."""
        process = subprocess.Popen(
            ["bash", "-c", command], cwd=folder, env=self._environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        try:
            out, err = process.communicate(timeout=timeout)
            code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            code = 124
        return Done(code, out.decode(errors="backslashreplace"), err.decode(errors="backslashreplace"))

    def _trained(self, name: str) -> Path:
        """The run directory of a trained run, made once."""
        folder, made = self.folder / "runs" / name, self.runs[name]
        with self._locks[name]:
            if not folder.exists():
                self._fill(folder, made.get("inputs", {}))
                done = self.run(made["run"], folder, 600)
                if done.code:
                    (folder / "failed").write_text(done.err)
            if (folder / "failed").exists():
                raise RuntimeError(f"the run {name} cannot be made: {(folder / 'failed').read_text()[-500:]}")
        return folder / "run"

    def _fill(self, folder: Path, inputs: Mapping[str, str]) -> None:
        folder.mkdir(parents=True)
        for here, there in inputs.items():
            copied(self.shared / there, folder / here)


def copied(source: Path, target: Path) -> None:
    """A copy that can be written to, whatever the modes of the original are."""
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        return
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        copied(path, target / path.name)


def judged(
    cases: Sequence[Case], runs: Mapping[str, Any], graft: Path, shared: Path = SHARED, *,
    jobs: int = 2, show: str = "",
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Every case's verdict and what is not as expected, by its name; cases whose inputs are not there say so."""
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="cases-") as temporary:
        bench = Bench(graft, Path(temporary).resolve(), shared, runs)

        def one(case: Case) -> None:
            started = time.monotonic()
            if missing := bench.missing(case):
                results[case.name] = {"verdict": "skipped", "wrong": [f"no input {shared / missing}"], "otherwise": []}
                return
            try:
                found = bench.judge(case)
            except RuntimeError as error:
                found = Judged("refused, no way out", [str(error)])
            left = [
                {"run": step.run, "code": done.code, "out": done.out[-6000:], "err": done.err[-3000:]}
                for step, done in zip(case.steps, found.left, strict=False)
            ]
            results[case.name] = {
                "verdict": found.verdict, "wrong": found.wrong, "otherwise": found.otherwise,
                "seconds": round(time.monotonic() - started, 1), "left": left,
            }  # fmt: skip
            if show:
                say(case, results[case.name], show)

        with concurrent.futures.ThreadPoolExecutor(jobs) as pool, contextlib.suppress(KeyboardInterrupt):
            list(pool.map(one, cases))
    return results


def say(case: Case, result: Mapping[str, Any], what: str) -> None:
    """A line for a case, and one for each thing in `what`: wrong, or otherwise."""
    as_then = "" if result["verdict"] == case.verdict else f" (0.1.0: {case.verdict})"
    line(f"{case.name:5} {result['verdict']}{as_then}, {result.get('seconds', 0)} s: {case.kind}")
    for each in result[what]:
        line(f"      {each[:600]}")


def line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--graft", type=Path, default=Path(sys.executable).with_name("graft"))
    parser.add_argument("--only", action="append", default=[], help="cases, by name or its beginning (v, t, v3)")
    parser.add_argument("--was", action="store_true", help="tell what is not as in 0.1.0, in place of what is wrong")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--json", type=Path, help="a file for all that the commands left")
    given = parser.parse_args()
    cases, runs = load()
    cases = [case for case in cases if not given.only or case.name.startswith(tuple(given.only))]
    what = "otherwise" if given.was else "wrong"
    results = judged(cases, runs, given.graft, given.shared, jobs=given.jobs, show=what)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1, ensure_ascii=False))
    counts = Counter(result["verdict"] for result in results.values())
    line(" · ".join(f"{verdict} {counts[verdict]}" for verdict in (*VERDICTS, "skipped") if counts[verdict]))
    return int(any(result[what] for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
