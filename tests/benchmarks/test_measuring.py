"""What the comparisons measure with: ratios, verdicts, memory, the page over all of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., str]


def test_a_verdict_is_the_median_over_rounds_against_its_limit() -> None:
    from measure import verdict, verdict_lines

    enough = verdict("speed", [1.0, 5.0, 4.0], at_least=4.0)
    assert (enough["ratio"], enough["lowest"], enough["highest"], enough["holds"]) == (4.0, 1.0, 5.0, True)
    assert verdict("speed", [3.9], at_least=4.0)["holds"] is False
    assert verdict("overhead", [1.03], at_most=1.03)["holds"] is True
    assert verdict("overhead", [1.04], at_most=1.03)["holds"] is False
    assert verdict("only told", [1.0])["holds"] is None
    line = verdict_lines([enough])[0]
    assert (line["median (range)"], line["limit"], line["holds"]) == ("4.000 (1.000 to 5.000)", "at least 4", "yes")


def test_the_interval_of_a_median_holds_it_and_gets_narrower_with_more_rounds() -> None:
    from measure import interval_of_median

    few = [1.0, 1.1, 0.9, 1.3, 1.05]
    low, high = interval_of_median(few)
    assert 0.9 <= low < 1.05 < high <= 1.3
    assert (low, high) == interval_of_median(few), "the same values give the same interval"
    narrower = interval_of_median(few * 10)
    assert narrower[1] - narrower[0] < high - low
    assert interval_of_median([2.0]) == (2.0, 2.0)


def test_rounds_of_the_engine_are_compared_within_themselves_so_that_drift_cancels() -> None:
    from engine_overhead import ROUND, overheads

    # A machine that slows down steadily, and a side that takes twice as long.
    times = iter(range(100, 200))
    rows = [
        {"arm": arm, "round": number, "step_milliseconds": [next(times) * (2 if arm == "B" else 1)]}
        for number in range(3)
        for arm in ROUND
    ]
    assert overheads(rows, "step_milliseconds") == [2.0] * 3


def test_ratios_are_taken_within_a_round_so_that_a_slow_round_slows_both_sides() -> None:
    from arms import ratios

    rows = [{"arm": arm, "seconds": s} for arm, s in (("A", 10.0), ("B", 5.0), ("A", 40.0), ("B", 10.0))]
    assert ratios(rows, "A", "B", "seconds") == [2.0, 4.0]


def test_a_busy_machine_is_told() -> None:
    from measure import busy_note

    assert busy_note([{"taken_by_others": 0.01}, {"taken_by_others": None}, {}]) == []
    assert "not quiet" in busy_note([{"taken_by_others": 0.2}])[0]


def test_where_folders_lie_is_left_out_of_the_published_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from measure import this_command

    monkeypatch.setattr(
        sys, "argv", ["/somewhere/benchmarks/growth.py", "--out", "/home/somebody/results", "--rows", "5"]
    )
    assert this_command() == "python benchmarks/growth.py --out .../results --rows 5"


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").is_file(), reason="memory is measured on Linux only")
def test_memory_that_is_held_is_told_from_pages_of_mapped_files(tmp_path: Path) -> None:
    from memory import watch

    size = 150 << 20
    (tmp_path / "file").write_bytes(bytes(size))
    child = f"import time; held = bytearray({size}); held[::4096] = b'1' * len(held[::4096]); time.sleep(0.6)"
    holding = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    mapping = f"""
import mmap, time
with open({str(tmp_path / "file")!r}, "rb") as file:
    pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    sum(pages[::4096])
    time.sleep(0.6)
"""
    held = watch([sys.executable, "-c", holding], {}, tmp_path / "log")
    mapped = watch([sys.executable, "-c", mapping], {}, tmp_path / "log")
    assert 150 <= held["held_mb"] < 200, "the child's memory counts"
    assert mapped["held_mb"] < 50 and mapped["mapped_files_mb"] >= 150 and mapped["whole_mb"] >= 150


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    from arms import timed

    with pytest.raises(SystemExit, match=r"exit code 3[\s\S]*no such thing"):
        timed([sys.executable, "-c", "print('no such thing'); raise SystemExit(3)"], tmp_path)


def test_a_comparison_whose_data_is_not_there_is_left_out_by_name(run: Run, tmp_path: Path) -> None:
    page = run("everything.py", "--data", tmp_path, "--only", "classic", "--out", tmp_path / "out")
    assert "classic: --data has no clothing" in page


def test_every_comparison_has_a_tiny_mode_and_a_place_in_the_table() -> None:
    from everything import COMPARISONS

    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    compared = {file.stem for file in folder.glob("*.py") if "parser_for(__doc__)" in file.read_text(encoding="utf-8")}
    assert {comparison.script for comparison in COMPARISONS} == compared - {"arms"}
