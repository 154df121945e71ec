"""All comparisons, one after another, and one page that says what holds.

    python benchmarks/everything.py --tiny
    python benchmarks/everything.py --data ../shared/data --out benchmarks/results --runs runs/benchmarks --repeats 3

`--data` is a folder with the data sets `clothing`, `sst2`, `bccd` and, in `weights`, SqueezeNet's; a comparison whose data is
not there is left out by name. Comparisons that are finished are kept in `--runs` and only summed up again, so the command
goes on where it was cut off. Results go to OUT/NAME/, the page is OUT/overview.md with OUT/overview.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from arms import HERE, TINY
from measure import QUIET, Row, say, table, this_command, verdict_lines

WEIGHTS = "weights/squeezenet1_0-imagenet1k-deepcompression.safetensors"


@dataclass(frozen=True)
class Comparison:
    """One script.

    Args:
        name: folder of its results.
        script: beside this file, without its suffix.
        result: the name that its results have.
        words: of a full run; DATA stands for the folder of data sets.
        needs: what has to be in that folder.
        repeats: rounds, where not as many as asked for make sense.
    """

    name: str
    script: str
    result: str
    words: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    repeats: int | None = None


COMPARISONS = (
    Comparison("engine-overhead", "engine_overhead", "engine_overhead", repeats=7),
    Comparison(
        "classic",
        "classic_vs_graft",
        "classic_vs_graft",
        ("--data", "DATA/clothing", "--epochs", "10", "--train-size", "224"),
        ("clothing",),
    ),
    Comparison(
        "linear-probe",
        "linear_probe",
        "linear_probe",
        ("--data", "DATA/clothing", "--rows", "5000", "--epochs", "10"),
        ("clothing",),
    ),
    Comparison(
        "partial-cached",
        "partial_cached",
        "partial_cached",
        ("--data", "DATA/clothing", "--texts", "DATA/sst2", "--rows", "2000", "--epochs", "10"),
        ("clothing", "sst2"),
    ),
    Comparison(
        "text-vs-trainer", "text_vs_trainer", "text_vs_trainer", ("--data", "DATA/sst2", "--epochs", "3"), ("sst2",)
    ),
    Comparison(
        "detection-loop",
        "detection_loop_vs_graft",
        "detection_loop",
        ("--data", "DATA/bccd", "--weights", f"DATA/{WEIGHTS}", "--epochs", "2"),
        ("bccd", WEIGHTS),
    ),
    Comparison(
        "decoders",
        "decoders",
        "decoders",
        ("--data", "DATA/clothing", "DATA/bccd", "DATA/camvid"),
        ("clothing", "bccd", "camvid"),
        repeats=9,
    ),
    Comparison("suite-sharing", "suite_sharing", "suite_sharing", ("--suite", "smoke"), repeats=1),
    Comparison("growth", "growth", "growth", repeats=1),
    Comparison("startup", "startup", "startup", repeats=7),
    Comparison("device", "device", "device"),
)


def words_of(comparison: Comparison, given: argparse.Namespace) -> list[str]:
    """The command of one comparison."""
    words = [sys.executable, str(HERE / f"{comparison.script}.py"), "--out", str(given.out / comparison.name)]
    words += ["--runs", str(given.runs / comparison.name)]
    if given.tiny:
        return [*words, "--tiny"]
    words += ["--repeats", str(comparison.repeats or given.repeats)]
    words += ["--threads", str(given.threads)] if given.threads else []
    return words + [word.replace("DATA", str(given.data)) for word in comparison.words]


def left_out(comparison: Comparison, given: argparse.Namespace) -> str | None:
    """Why a comparison can't run here; None where it can."""
    if given.tiny:
        return None
    if comparison.needs and given.data is None:
        return "it needs --data"
    missing = [name for name in comparison.needs if not (given.data / name).exists()]
    return f"--data has no {', '.join(missing)}" if missing else None


def overview(out: Path, reasons: dict[str, str]) -> str:
    """Write the page over all results in `out`, those of earlier calls included; its text.

    Args:
        reasons: why a comparison was left out or failed, by name.
    """
    lines: list[Row] = []
    acceptance: list[Row] = []
    tiny = False
    for comparison in COMPARISONS:
        file = out / comparison.name / f"{comparison.result}.json"
        if not file.is_file():
            reason = reasons.get(comparison.name, "not run")
            lines.append(
                {"comparison": f"{comparison.name}: {reason}", "median (range)": "-", "limit": "-", "holds": "-"}
            )
            continue
        found = json.loads(file.read_text(encoding="utf-8"))
        tiny = tiny or found.get("tiny", False)
        verdicts = found.get("acceptance", [])
        others = max((row.get("taken_by_others") or 0.0 for row in found.get("rows", [])), default=0.0)
        facts = {"results": f"[{comparison.name}]({comparison.name}/{comparison.result}.md)"}
        facts["others took at most"] = f"{others:.0%}" + (" **(not quiet)**" if others > QUIET else "")
        told = verdict_lines(verdicts) or [
            {"comparison": f"{comparison.name}: no ratio", "median (range)": "-", "limit": "-", "holds": "-"}
        ]
        lines += [line | facts for line in told]
        if reasons.get(comparison.name):
            lines[-1]["comparison"] += f" ({reasons[comparison.name]}: from an earlier call)"
        acceptance += [{"results": comparison.name, "taken_by_others": others, **line} for line in verdicts]
    titles = ("comparison", "median (range)", "limit", "holds", "others took at most", "results")
    text = "\n\n".join(
        [
            "# All comparisons",
            *([TINY] if tiny else []),
            "Medians over rounds in which both sides ran beside each other. Each page says what was compared, on which "
            "machine, and what is not the same on purpose. Times mean something only where others took next to nothing.",
            table([{title: line.get(title) for title in titles} for line in lines]),
            f"    {this_command()}\n",
        ]
    )
    (out / "overview.md").write_text(text, encoding="utf-8")
    (out / "overview.json").write_text(json.dumps(acceptance, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    names = [comparison.name for comparison in COMPARISONS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--out", type=Path, help="folder of the results; needed unless --tiny")
    parser.add_argument("--runs", type=Path, help="folder of data and run directories, by default OUT/runs")
    parser.add_argument("--repeats", type=int, default=3, help="rounds A B A B … of each comparison")
    parser.add_argument("--threads", type=int, help="processor threads of every run; by default what torch takes")
    parser.add_argument("--tiny", action="store_true", help="data made here, sizes of seconds: do the scripts work?")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--page-only", action="store_true", help="run nothing, only write the page anew")
    given = parser.parse_args(arguments)
    if given.out is None and given.tiny:
        given.out = Path(tempfile.mkdtemp(prefix="graftwork-benchmarks-"))
    if given.out is None:
        parser.error("give --out, the folder of the results (or --tiny)")
    given.runs = given.runs or given.out / "runs"
    given.out.mkdir(parents=True, exist_ok=True)

    reasons: dict[str, str] = {}
    failed = False
    for comparison in COMPARISONS:
        if comparison.name not in given.only or given.page_only:
            continue
        reason = left_out(comparison, given)
        if reason is None:
            say(f"== {comparison.name}")
            code = subprocess.run(words_of(comparison, given), stdout=subprocess.DEVNULL, check=False).returncode
            reason = f"failed with exit code {code}" if code else None
            failed = failed or bool(code)
        if reason:
            say(f"{comparison.name}: {reason}")
            reasons[comparison.name] = reason
    print(overview(given.out, reasons))
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
