"""What the benchmarks share: the machine in words, `graft train` in this process, ratios, tables as Markdown and JSON.

No benchmark's question lives here; each has a script of its own beside this file. How processes are run one after another
and timed stands in `arms`.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import random
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

Row = dict[str, Any]

QUIET = 0.05
"""Share of the machine that others may take before a run's times are called into question."""


def environment() -> Row:
    """What could change a number: processor, cores, threads, versions, precision that the engine would choose, load."""
    import torch

    from graftwork import __version__
    from graftwork.machine.device import choose_device
    from graftwork.machine.precision import choose_precision

    device, _ = choose_device("auto")
    precision, reason = choose_precision("auto", device)
    return {
        "graftwork": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": _processor(),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
        "precision auto": f"{precision} ({reason})",
        "load average at start": load_average(),
    }


def load_average() -> float | None:
    """Runnable processes over the last minute: above the number of cores, times mean little."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def busy_seconds() -> float | None:
    """Processor seconds that all processes of this machine have used since it started; None where nobody counts them."""
    counts = Path("/proc/stat")
    if not counts.is_file():
        return None
    user, nice, system, _idle, _waiting, *interrupts = map(
        int, counts.read_text(encoding="ascii").split("\n")[0].split()[1:9]
    )
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    formats = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{name or platform.processor() or platform.machine()} ({', '.join(formats) or 'no wide vectors found'})"


def train(out: Path, settings: Mapping[str, Any], options: Sequence[str] = ()) -> Row:
    """One `graft train` in this process; a run in `out` that was cut off goes on, a finished one gives its summary.

    Args:
        out: the run directory.
        settings: flags by name without dashes in front, e.g. {"limit-train": 80}; None leaves a flag out.
        options: values for `--set`, e.g. `task_options.train_size=176`.

    Raises:
        SystemExit: the run failed, or `out` holds a run with other settings; graft has said why.
    """
    from graftwork.cli import main

    words = command(out, settings, options)
    say("graft " + shlex.join(words))
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the benchmark's own table
        code = main(words)
    if code:
        raise SystemExit(f"this run ended with exit code {code}: graft {shlex.join(words)}")
    found: Row = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return found


def command(out: Path, settings: Mapping[str, Any], options: Sequence[str] = ()) -> list[str]:
    """The words after `graft`. With --resume, so that the same command goes on where it was cut off."""
    words = ["train"]
    for name, value in settings.items():
        if value is not None:
            words += [f"--{name}", str(value)]
    for option in options:
        words += ["--set", option]
    return [*words, "--out", str(out), "--resume"]


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean with the range over repeats: `0.812 (0.799 to 0.824)`."""
    if not values:
        return "-"
    middle = f"{mean(values):.{digits}f}"
    return f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else middle


def middle(values: Iterable[float | None], digits: int = 3) -> str:
    """Median with the range over repeats: `0.812 (0.799 to 0.824)`; values that are None are left out."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    text = f"{median(known):,.{digits}f}"
    return f"{text} ({min(known):,.{digits}f} to {max(known):,.{digits}f})" if len(known) > 1 else text


def interval_of_median(values: Sequence[float], draws: int = 2000) -> tuple[float, float]:
    """The 95 % interval of the median by bootstrap: values drawn anew with replacement (Efron 1979), from a fixed seed."""
    chance = random.Random(0)
    medians = sorted(median(chance.choices(values, k=len(values))) for _ in range(draws))
    return medians[round(0.025 * (draws - 1))], medians[round(0.975 * (draws - 1))]


def verdict(
    comparison: str, values: Sequence[float], *, at_least: float | None = None, at_most: float | None = None
) -> Row:
    """One line of the acceptance table: the median over repeats against the limit, as `overview` collects it.

    Args:
        comparison: what is compared, in words.
        values: one a repeat; each from runs that stood beside each other.
        at_least, at_most: the limit, one of the two; without one the line only informs.
    """
    ratio = median(values)
    holds = None
    if at_least is not None:
        holds = ratio >= at_least
    elif at_most is not None:
        holds = ratio <= at_most
    return {
        "comparison": comparison,
        "ratio": ratio,
        "lowest": min(values),
        "highest": max(values),
        "repeats": len(values),
        "at_least": at_least,
        "at_most": at_most,
        "holds": holds,
    }


def verdict_lines(verdicts: Sequence[Row]) -> list[Row]:
    """Verdicts as rows of a table for people."""
    lines = []
    for found in verdicts:
        limit = "-"
        if found["at_least"] is not None:
            limit = f"at least {found['at_least']:g}"
        elif found["at_most"] is not None:
            limit = f"at most {found['at_most']:g}"
        ranged = f" ({found['lowest']:.3f} to {found['highest']:.3f})" if found["repeats"] > 1 else ""
        lines.append(
            {
                "comparison": found["comparison"],
                "median (range)": f"{found['ratio']:.3f}{ranged}",
                "limit": limit,
                "holds": {True: "yes", False: "**no**", None: "-"}[found["holds"]],
            }
        )
    return lines


def busy_note(rows: Sequence[Row]) -> list[str]:
    """A warning for the results page where other processes took a share of the machine during the runs; else nothing."""
    busy = [row["taken_by_others"] for row in rows if (row.get("taken_by_others") or 0.0) > QUIET]
    if not busy:
        return []
    return [
        f"**The machine was not quiet**: other processes took up to {max(busy):.0%} of it during {len(busy)} of "
        f"{len(rows)} runs. Neither seconds nor ratios are to be trusted; repeat on a quiet machine."
    ]


def every(rows: Sequence[Row], hidden: Sequence[str] = ()) -> str:
    """All runs as a Markdown table with the columns of all of them."""
    names = dict.fromkeys(name for row in rows for name in row if name not in hidden)
    return table([{name: row.get(name) for name in names} for row in rows])


def table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table; columns as in the first row."""
    if not rows:
        return "(no rows)"
    titles = list(rows[0])
    lines = [titles, ["---"] * len(titles), *([_cell(row.get(title)) for title in titles] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def write_results(out: Path, name: str, title: str, sections: Mapping[str, str], data: Mapping[str, Any]) -> str:
    """Write NAME.md and NAME.json into `out`; the Markdown text is returned.

    Args:
        sections: heading to Markdown; the environment is added as the last one.
        data: what the Markdown was made from; holds `environment`.
    """
    facts = "\n".join(f"- {key}: {value}" for key, value in data["environment"].items())
    parts = [f"# {title}", *(f"## {head}\n\n{text}" for head, text in sections.items()), f"## Environment\n\n{facts}"]
    text = "\n\n".join(parts) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    (out / f"{name}.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return text


def this_command() -> str:
    """How this script was called, for the results page; where folders lie on this machine is left out."""
    words = [re.sub(r"(?<![\w.])/\S*/(?=[^\s/]+)", ".../", word) for word in sys.argv[1:]]
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])


def say(line: str) -> None:
    """A line of progress, on stderr."""
    print(line, file=sys.stderr, flush=True)
