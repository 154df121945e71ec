"""`graft bench`: a suite of runs and what it says, the difference of two result sets."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from graftwork.cli import Interrupted
from graftwork.cli.options import Json
from graftwork.console import byte_size, duration, number, out, out_json, out_table
from graftwork.errors import RunFailed, UsageError

if TYPE_CHECKING:
    from graftwork.bench.analysis import Analysis
    from graftwork.bench.benchmark import Chosen
    from graftwork.bench.estimate import Estimate
    from graftwork.catalogue import Catalogue

SETTINGS = {"help_option_names": ["-h", "--help"]}


class _RunsByDefault(TyperGroup):
    """A group whose first word may be a suite instead of a command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in SETTINGS["help_option_names"]:
            args = ["run", *args]
        rest: list[str] = super().parse_args(ctx, args)
        return rest


def application() -> typer.Typer:
    """The commands below `graft bench`."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, cls=_RunsByDefault, help=_start.__doc__)
    app.callback(invoke_without_command=True, context_settings=SETTINGS, help=_start.__doc__)(_start)
    app.command("run", context_settings=SETTINGS)(run_command)
    app.command("compare", context_settings=SETTINGS)(compare_command)
    app.command("report", context_settings=SETTINGS)(report_command)
    return app


def _start(context: typer.Context) -> None:
    """Compare backbones and strategies over many data sets: graft bench SUITE.

    See graft list suites; graft bench SUITE --plan says what a suite would cost.
    """
    if context.invoked_subcommand is None:
        out(context.get_help())


def run_command(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="A name, see graft list suites, or a .yaml file.")],
    plan: Annotated[
        bool, typer.Option("--plan", help="Print the cells, their time and disk, and run nothing.")
    ] = False,
    where: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where everything goes; runs/bench-SUITE unless given.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Cells at a time; as many as the machine has room for unless given."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what --out holds; failed cells again.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="AXIS=NAME[,NAME]", help="Some of the cells, e.g. strategy=full; repeatable."),
    ] = None,
    data_root: Annotated[
        Path, typer.Option("--data-root", metavar="DIR", help="What relative paths of data are relative to.")
    ] = Path(),
    on: Annotated[str, typer.Option("--on", metavar="local|ray", help="This machine, or a Ray cluster.")] = "local",
    json: Json = False,
) -> None:
    """Run a suite, every cell an ordinary run, and write the table, the statistics and a page."""
    from graftwork.bench.benchmark import choose
    from graftwork.catalogue import load_catalogue

    if on not in ("local", "ray"):
        raise UsageError(f"--on {on!r} is not known", hint="Write --on local or --on ray")
    catalogue = load_catalogue()
    chosen = choose(suite, only or [], data_root, catalogue)
    if plan:
        _plan(chosen, catalogue, workers, json)
        return
    where = where or Path("runs") / f"bench-{chosen.suite.name}"
    command = _resume_command(suite, where, data_root, only or [], on)
    outcome, analysis = _run(chosen, where, catalogue, workers, resume, on, command)
    if json:
        out_json(_in_json(analysis, where))
    else:
        _show(analysis)
        out(f"table       {where / 'results.csv'}")
        out(f"page        {where / 'report.html'}")
    if outcome.failed:
        cells = f"{outcome.failed} of {len(chosen.asked)} cells failed"
        raise RunFailed(f"{cells}; the others have their results", hint=f"Causes are in the page. Again: {command}")


def _run(
    chosen: Chosen, where: Path, catalogue: Catalogue, workers: int | None, resume: bool, on: str, command: str
) -> Any:
    from graftwork.bench.benchmark import run_benchmark
    from graftwork.cli.bench_progress import BenchProgress
    from graftwork.cli.train import terminate_as_interrupt

    with terminate_as_interrupt():
        try:
            watch = BenchProgress()
            return run_benchmark(chosen, where, catalogue, watch, workers=workers, resume=resume, on=on)
        except KeyboardInterrupt:
            raise Interrupted(command if (where / "bench.json").is_file() else None) from None


def compare_command(
    before: Annotated[Path, typer.Argument(metavar="A", help="A result set: the folder of graft bench, or its table.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    json: Json = False,
) -> None:
    """Say in what two result sets differ beyond chance: to hunt a regression, or to judge a change."""
    from graftwork.bench.compare import compare, describe
    from graftwork.bench.results import read_results

    differences = compare(read_results(before), read_results(after))
    if json:
        out_json(differences.to_json())
        return
    for line in describe(differences):
        out(line)


def report_command(
    where: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that graft bench wrote.")],
) -> None:
    """Write the table, the Markdown and the page anew, also while a benchmark runs, and print where the page is."""
    from graftwork.bench.benchmark import PAGE, write_up

    write_up(where)
    out(str(where / PAGE))


def _plan(chosen: Chosen, catalogue: Catalogue, workers: int | None, json: bool) -> None:
    from graftwork.bench.cells import missing_data
    from graftwork.bench.estimate import Timings, estimate, wall_seconds
    from graftwork.bench.runner import choose_workers

    slots, threads = choose_workers(workers, len(chosen.asked))
    costs = estimate(chosen.asked, catalogue, Timings(threads), chosen.suite.keep_models)
    seconds, size = wall_seconds(costs, slots), sum(cost.bytes for cost in costs)
    timed = sum(cost.timed > 0 for cost in costs)
    missing = missing_data(chosen.asked)
    if json:
        described = [
            {**cell.axes, "folder": cell.folder, "seconds": cost.seconds, "bytes": cost.bytes, "timed": cost.timed > 0}
            for cell, cost in zip(chosen.asked, costs, strict=True)
        ]
        total = {"seconds": seconds, "bytes": size, "workers": slots, "threads": threads, "missing": missing}
        out_json({"suite": chosen.suite.name, "cells": described, **total})
        return
    _show_costs(chosen, costs)
    guessed = "" if timed == len(costs) else ", the others guessed"
    basis = f"{timed} of them timed on this machine{guessed}" if timed else "guessed, nothing like them was timed here"
    out(f"{len(costs)} cells, {basis}: {duration(seconds)} with {slots} at a time and {threads} "
        f"thread{'' if threads == 1 else 's'} each, {byte_size(size)} on disk")  # fmt: skip
    if timed < len(costs):
        out("A guess from sizes alone can be off by a factor of five; what was timed once is known.")
    for path in missing:
        out(f"missing: {path}")


def _show_costs(chosen: Chosen, costs: Sequence[Estimate]) -> None:
    swept = any(cell.point for cell in chosen.asked)
    titles = ["data", "backbone", "strategy", *(["point"] if swept else []), "labels", "seed", "time", "disk"]
    rows = [
        [
            cell.data, cell.backbone, cell.strategy, *([cell.point] if swept else []), cell.labels, cell.seed,
            ("" if cost.timed else "about ") + duration(cost.seconds), byte_size(cost.bytes),
        ]
        for cell, cost in zip(chosen.asked, costs, strict=True)
    ]  # fmt: skip
    out_table(titles, rows)
    out()


def _show(analysis: Analysis) -> None:
    """The table of a result set for a terminal: scores, gains and costs; the page has the rest."""
    titles = ["data", "backbone", "strategy", "score", "±", "gain", "", "time", "trained"]
    budgets = len({entry.labels for entry in analysis.entries}) > 1
    rows = []
    for entry in analysis.entries:
        gain = entry.gain
        rows.append(
            [
                entry.data, *([entry.labels] if budgets else []), entry.backbone, entry.strategy,
                f"{entry.score.value:.3f}", _half(entry.score.low, entry.score.high),
                f"{gain.mean.value:+.3f}" if gain else "-", _verdict(gain),
                duration(entry.seconds), number(entry.trained),
            ]
        )  # fmt: skip
    if budgets:
        titles.insert(1, "labels")
    out_table(titles, rows)
    out()


def _half(low: float, high: float) -> str:
    return f"{(high - low) / 2:.3f}" if high == high else "-"


def _verdict(gain: Any) -> str:
    if gain is None:
        return ""
    words = {"positive": "better than scratch", "negative": "worse than scratch", "not shown": "not shown"}
    return words[gain.verdict]


def _in_json(analysis: Analysis, where: Path) -> dict[str, Any]:
    from dataclasses import asdict

    facts = asdict(analysis)
    facts.pop("rows")
    return {"out": str(where), **facts}


def _resume_command(suite: str, where: Path, data_root: Path, only: Sequence[str], on: str) -> str:
    words = ["graft", "bench", suite, "--out", str(where)]
    words += ["--data-root", str(data_root)] if data_root != Path() else []
    for word in only:
        words += ["--only", word]
    words += ["--on", on] if on != "local" else []
    return shlex.join([*words, "--resume"])
