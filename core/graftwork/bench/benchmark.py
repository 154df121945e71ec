"""One benchmark from its suite to its page: read `run_benchmark` as the table of contents. Torch is in the cells' processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.bench.cell import Cell
from graftwork.bench.cells import expand, missing_data, select
from graftwork.bench.estimate import Timings
from graftwork.bench.folder import CellRecord, ResultSet
from graftwork.bench.jobs import Job, Workers
from graftwork.bench.runner import Outcome, Watch, choose_workers, modules_of, run_cells
from graftwork.bench.suite import Suite, find_suite, load_suite
from graftwork.catalogue import Catalogue
from graftwork.errors import DataError

if TYPE_CHECKING:
    from graftwork.bench.analysis import Analysis

PAGE = "report.html"
MARKDOWN = "results.md"


@dataclass(frozen=True)
class Chosen:
    """A suite with its cells.

    Args:
        suite: as its file says it.
        cells: all of them.
        asked: those that are to run.
    """

    suite: Suite
    cells: Sequence[Cell]
    asked: Sequence[Cell]


def choose(name_or_path: str, only: Sequence[str], data_root: Path, catalogue: Catalogue) -> Chosen:
    """Read a suite and expand it.

    Args:
        name_or_path: a suite's name, or its file.
        only: `AXIS=NAME[,NAME]`: which of its cells are to run.
        data_root: what relative paths of data and weights are relative to.
        catalogue: of this installation.

    Raises:
        UsageError: with every problem of the suite, or a selection that means nothing.
    """
    suite = load_suite(find_suite(name_or_path, catalogue))
    cells = expand(suite, catalogue, data_root)
    return Chosen(suite, cells, select(cells, only) if only else cells)


def run_benchmark(
    chosen: Chosen,
    out: Path,
    catalogue: Catalogue,
    watch: Watch,
    *,
    workers: int | None = None,
    resume: bool = False,
    on: str = "local",
) -> tuple[Outcome, Analysis]:
    """Run what has no result yet, and write the tables and the page of all that has.

    Args:
        chosen: suite and cells.
        out: the folder of the result set.
        catalogue: of this installation.
        watch: is told how it goes on.
        workers: cells at a time; None for as many as this machine has room for.
        resume: go on with what `out` holds.
        on: `local`, or `ray` for the machines of a Ray cluster.

    Raises:
        DataError: paths that the cells name do not exist.
        UsageError: `out` holds a benchmark already or another one, or Ray is not installed.
        KeyboardInterrupt: the user's; every cell that ran has left its checkpoint.
    """
    missing = missing_data(chosen.asked)
    if missing:
        hint = "Relative paths are relative to --data-root; the suite's file says where to get what belongs there"
        raise DataError(f"{', '.join(missing)}: no such file or folder", where=str(chosen.suite.path), hint=hint)
    result = ResultSet(out)
    with result.locked():
        slots, threads = choose_workers(workers, len(chosen.asked))
        threads = result.begin(chosen.suite, chosen.cells, threads, resume)
        timings = Timings(threads)

        def took(job: Job, record: CellRecord) -> None:
            if record.attempts == 1:  # the clock of a resumed cell knows its last part only
                timings.add(job.settings, record.seconds, result.size(job.name))

        pool = _workers(on, slots, threads, workers is not None, chosen, catalogue, out)
        outcome = run_cells(chosen.asked, result, pool, threads, chosen.suite.keep_models, watch, took)
        return outcome, write_up(out)


def _workers(
    on: str, slots: int, threads: int, counted: bool, chosen: Chosen, catalogue: Catalogue, out: Path
) -> Workers:
    if on == "ray":
        from graftwork.bench.on_ray import RayWorkers

        return RayWorkers(slots if counted else None, threads, out)
    from graftwork.bench.local import LocalWorkers

    return LocalWorkers(slots, threads, modules_of(chosen.asked, catalogue))


def write_up(out: Path) -> Analysis:
    """Write the tables, the Markdown and the page of a result set, as far as it has come.

    Raises:
        UsageError: `out` is no result set.
    """
    from graftwork.bench.comparisons import analyse
    from graftwork.bench.markdown import to_markdown
    from graftwork.bench.page import write_page
    from graftwork.bench.results import collect, write_results
    from graftwork.files.atomic import write_file

    header = ResultSet(out).header() or {}
    rows = collect(out)
    write_results(rows, out)
    analysis = analyse(rows, header.get("suite", ""), header.get("summary", ""))
    write_file(out / MARKDOWN, to_markdown(analysis).encode())
    write_page(analysis, out)
    return analysis
