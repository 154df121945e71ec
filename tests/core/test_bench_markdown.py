"""The Markdown of a result set: its tables, its sentences, and that it claims no more than the numbers show."""

from __future__ import annotations

from pathlib import Path

from bench_toys import Toy, write_result_set

from graftwork.bench.comparisons import analyse
from graftwork.bench.markdown import to_markdown
from graftwork.bench.results import collect


def markdown(folder: Path, cells: list[Toy], summary: str = "Toys") -> str:
    return to_markdown(analyse(collect(write_result_set(folder, cells)), "toys", summary))


def grid(data: str = "abc", labels: tuple[str, ...] = ("all",), seeds: int = 2) -> list[Toy]:
    return [
        Toy(base + at / 40 + seed / 100, data=name, strategy=strategy, labels=budget, seed=seed)
        for budget in labels
        for at, name in enumerate(data)
        for strategy, base in (("scratch", 0.4), ("full", 0.7))
        for seed in range(seeds)
    ]


def test_scores_are_methods_by_data_sets_with_the_best_in_bold(tmp_path: Path) -> None:
    text = markdown(tmp_path, grid())
    assert "| backbone | strategy | a (accuracy) | b (accuracy) | c (accuracy) |" in text
    assert "| net | full | **0.705 ± 0.064** | **0.730 ± 0.064** | **0.755 ± 0.064** |" in text
    assert "| net | scratch | 0.405 ± 0.064 |" in text


def test_budgets_have_tables_of_their_own(tmp_path: Path) -> None:
    text = markdown(tmp_path, grid(labels=("10/class", "all")))
    assert "Labels: 10/class." in text and "Labels: all." in text
    assert "| data | labels | backbone | strategy | gain |" in text


def test_negative_transfer_is_named(tmp_path: Path) -> None:
    assert "No negative transfer is shown." in markdown(tmp_path / "good", grid())
    worse = [Toy(0.8 + seed / 100, strategy="scratch", seed=seed) for seed in range(3)]
    worse += [Toy(0.3 + seed / 90, seed=seed) for seed in range(3)]
    assert "Negative transfer: net/full on shoes." in markdown(tmp_path / "bad", worse)


def test_negative_transfer_names_its_budget(tmp_path: Path) -> None:
    cells = [
        Toy(base + seed / slope, strategy=strategy, labels=labels, seed=seed)
        for labels, scratch, full in (("10", 0.5, 0.3), ("all", 0.5, 0.8))
        for strategy, base, slope in (("scratch", scratch, 100), ("full", full, 90))
        for seed in range(3)
    ]
    assert "Negative transfer: net/full on shoes with labels 10.\n" in markdown(tmp_path, cells)


def test_scores_on_validation_are_said_to_be_that(tmp_path: Path) -> None:
    text = markdown(tmp_path, [Toy(), Toy(data="boots", val=0.9, tested=False)])
    assert "Without a test split, scored on validation: boots." in text
    assert "scored on validation" not in markdown(tmp_path / "tested", [Toy()])


def test_few_data_sets_are_said_to_show_nothing(tmp_path: Path) -> None:
    text = markdown(tmp_path, grid())
    assert "cannot show any difference on 3 data sets, whatever the scores: 2 strategies need 6 at least." in text
    assert "equal" not in text.replace("not all are equal", "").replace("does not mean equal", "")


def test_many_data_sets_show_it(tmp_path: Path) -> None:
    text = markdown(tmp_path, grid("abcdefgh"))
    assert "differ: full and scratch (p = 0.008)" in text
    assert "not all are equal at 0.05" in text and "full before scratch" in text


def test_one_seed_says_that_there_is_no_interval(tmp_path: Path) -> None:
    text = markdown(tmp_path, grid(seeds=1))
    assert "There is one seed, so no interval" in text and "±" not in text and "nan" not in text.lower()


def test_a_method_with_one_seed_somewhere_is_named_where_its_interval_is_missing(tmp_path: Path) -> None:
    missing = "No interval of the interquartile mean for full: somewhere there is one seed"
    fewer = [cell for cell in grid() if (cell.data, cell.strategy, cell.seed) != ("a", "full", 1)]
    assert missing in markdown(tmp_path / "one", fewer)
    assert "No interval" not in markdown(tmp_path / "all", grid())


def test_the_narrowness_of_few_seeds_is_admitted(tmp_path: Path) -> None:
    assert "Bootstrap intervals over so few seeds come out too narrow." in markdown(tmp_path, grid())


def test_sweeps_failures_and_what_is_missing_are_told(tmp_path: Path) -> None:
    cells = [
        Toy(val=0.4, point="lr=1"),
        Toy(val=0.6, point="lr=2"),
        Toy(data="b", state="failed", error="one class only"),
        Toy(data="c", state="missing"),
    ]
    text = markdown(tmp_path, cells)
    assert "| shoes | all | net | full | lr=2 | 0.600 | yes |" in text
    assert "| b.net.full.all.seed0 | one class only |" in text
    assert "Not ended yet: 1 of 4 cells." in text


def test_names_break_no_table(tmp_path: Path) -> None:
    text = markdown(tmp_path, [Toy(data="a|b\n<c>", error=None)], summary="a\n# b `x`")
    line = next(line for line in text.splitlines() if "&lt;c>" in line)
    assert "a\\|b" in line
    assert "\n# b" not in text


def test_nothing_finished_is_still_a_page(tmp_path: Path) -> None:
    text = markdown(tmp_path, [Toy(state="failed", error="x")])
    assert "## Failed" in text and "## Scores" not in text
    assert "No cell has finished" in text and "one seed" not in text


def test_hyper_parameters_are_reported_what_is_the_same_once(tmp_path: Path) -> None:
    cells = [
        Toy(strategy="full", settings={"lr": 0.0001, "epochs": 3, "head_options": {}}),
        Toy(strategy="probe", settings={"lr": 0.01, "epochs": 3, "strategy_options": {"depth": 2}}),
    ]
    text = markdown(tmp_path, cells)
    assert "The same everywhere: epochs 3." in text
    assert "| data | labels | backbone | strategy | lr | strategy_options |" in text
    assert "| shoes | all | net | full | 0.0001 |  |" in text
    assert "| shoes | all | net | probe | 0.01 | depth=2 |" in text
