"""Two result sets against each other: what differs beyond chance, and what cannot be compared. For hunting regressions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any, Literal

import numpy as np
from scipy import stats

from graftwork.bench import wording
from graftwork.bench.analysis import Row
from graftwork.bench.statistics import Estimate, paired_gain, wilcoxon_holm
from graftwork.bench.statistics.arrays import differences

Verdict = Literal["better", "worse", "not shown", "not testable"]

_WATCHING = ("observers", "observer_options")
_SAME = ("task", "data", "labels", "backbone", "strategy", "point")


@dataclass(frozen=True)
class Change:
    """One method on one data set in both result sets, over their seeds.

    Args:
        name: `clothing, resnet18/full`, with budget and point where there are several.
        data: name of the data set.
        metric: in which scores are.
        before, after: mean scores.
        difference: after - before, with its interval; NaN ends where one seed each is all there is.
        paired: seed by seed, on those that both have; else by Welch's test.
        p: of no difference; NaN where it cannot be tested.
        adjusted_p: after Holm's correction over all changes.
        verdict: by `adjusted_p`.
    """

    name: str
    data: str
    metric: str
    before: float
    after: float
    difference: Estimate
    paired: bool
    p: float
    adjusted_p: float
    verdict: Verdict


@dataclass(frozen=True)
class Differences:
    """What differs between two result sets.

    Args:
        changes: of scores, one a method and data set that both have.
        identical: every score of both, seed by seed, is the same to the last bit, and there is at least one.
        overall_p: Wilcoxon's signed ranks over the mean difference of each data set; NaN with fewer than two.
        seconds: median ratio of a cell's wall-clock time, after over before; NaN where nothing is in both.
        cpu_seconds: the same of processor time.
        incomparable: cells of both whose data differs, by its fingerprint.
        measured_otherwise: cells of both that have another primary metric, or a test split in one alone.
        settings: `name: before → after`, with the number of cells.
        versions: the same of libraries.
        only_before, only_after: finished cells of one alone.
        newly_failed: cells that finished before and failed after, with the cause.
        level: 1 - alpha of the tests.
    """

    changes: tuple[Change, ...]
    identical: bool
    overall_p: float
    seconds: float
    cpu_seconds: float
    incomparable: tuple[str, ...]
    measured_otherwise: tuple[str, ...]
    settings: tuple[str, ...]
    versions: tuple[str, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    newly_failed: tuple[tuple[str, str], ...]
    level: float

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def compare(before: Sequence[Row], after: Sequence[Row], level: float = 0.95) -> Differences:
    """Compare the cells that both have finished.

    Seeds that both have are compared pair by pair (Student's t of the differences); where they share fewer than two seeds
    and not all, by Welch's t over all seeds of each. Over all methods and data sets p-values are corrected by Holm's
    step-down (1979), so that among many comparisons a chance difference is not taken for a change.

    Args:
        before, after: tables of `results.read_results`.
        level: 1 - alpha.
    """
    old, new = _by_cell(before), _by_cell(after)
    both = [cell for cell in old if cell in new]
    differing = [cell for cell in both if old[cell]["fingerprint"] != new[cell]["fingerprint"]]
    alike = [cell for cell in both if cell not in differing]
    otherwise = [cell for cell in alike if _measured(old[cell]) != _measured(new[cell])]
    matched = [cell for cell in alike if cell not in otherwise]
    changes = _corrected(_changes(old, new, [*differing, *otherwise], level), 1 - level)
    failed = {str(row["folder"]): str(row["error"]) for row in after if row["state"] == "failed"}
    gone = [cell for cell in old if cell not in new]
    return Differences(
        tuple(changes),
        bool(matched) and all(_scores(old[cell]) == _scores(new[cell]) for cell in matched),
        _overall(changes),
        _ratio(old, new, both, "seconds"),
        _ratio(old, new, both, "cpu_seconds"),
        tuple(str(old[cell]["folder"]) for cell in differing),
        tuple(str(old[cell]["folder"]) for cell in otherwise),
        _changed(old, new, both, "settings"),
        _changed(old, new, both, "versions"),
        tuple(str(old[cell]["folder"]) for cell in gone if str(old[cell]["folder"]) not in failed),
        tuple(str(new[cell]["folder"]) for cell in new if cell not in old),
        tuple((folder, failed[folder]) for cell in gone if (folder := str(old[cell]["folder"])) in failed),
        level,
    )


def _by_cell(rows: Sequence[Row]) -> dict[tuple[Any, ...], Row]:
    return {(*(row[name] for name in _SAME), row["seed"]): row for row in rows if row["state"] == "finished"}


def _scores(row: Row) -> dict[str, Any]:
    """What was measured; a table has columns for the metrics of all its tasks."""
    measured = {name: row[name] for name in row if name.startswith(("test.", "val.")) and row[name] is not None}
    return {name: "nan" if math.isnan(value) else value for name, value in measured.items()}  # NaN never equals itself


def _measured(row: Row) -> tuple[str, str]:
    return str(row["metric"]), str(row["scored_on"])


Groups = Mapping[tuple[Any, ...], Row]


def _changes(old: Groups, new: Groups, differing: Sequence[tuple[Any, ...]], level: float) -> list[Change]:
    """Uncorrected, one a method and data set of both."""
    apart = set(differing)
    methods = dict.fromkeys(cell[:-1] for cell in old)
    found = []
    for method in methods:
        mine, theirs = (
            {cell[-1]: float(row["score"]) for cell, row in group.items() if cell[:-1] == method and cell not in apart}
            for group in (old, new)
        )
        if mine and theirs:
            metric = str(next(row["metric"] for cell, row in old.items() if cell[:-1] == method))
            found.append(_change(method, metric, mine, theirs, level))
    return found


def _change(
    method: tuple[Any, ...], metric: str, before: Mapping[int, float], after: Mapping[int, float], level: float
) -> Change:
    common = [seed for seed in before if seed in after]
    paired = len(common) > 1 or set(before) == set(after)
    mine = [before[seed] for seed in common] if paired else list(before.values())
    theirs = [after[seed] for seed in common] if paired else list(after.values())
    if paired:
        difference = paired_gain(theirs, mine, level).mean
        p = _paired_p(theirs, mine)
    else:
        difference, p = _welch(theirs, mine, level)
    means = float(np.mean(mine)), float(np.mean(theirs))
    return Change(_named(method), str(method[1]), metric, *means, difference, paired, p, math.nan, "not testable")


def _paired_p(after: Sequence[float], before: Sequence[float]) -> float:
    gaps = differences(np.asarray(after), np.asarray(before))  # as in the interval: the last bits are no step
    if not gaps.any():
        return 1.0
    if len(gaps) < 2 or (
        len(gaps) == 2 and np.ptp(gaps) == 0
    ):  # on a small test split two equal steps are chance enough
        return math.nan
    if np.ptp(gaps) == 0:  # the same step with every seed: no spread to set it against
        return 0.0
    return float(stats.ttest_1samp(gaps, 0.0).pvalue)


def _welch(after: Sequence[float], before: Sequence[float], level: float) -> tuple[Estimate, float]:
    """The difference of means without equal variances assumed (Welch 1947)."""
    gap, runs = float(np.mean(after) - np.mean(before)), len(after) + len(before)
    if min(len(after), len(before)) < 2 or not (np.ptp(after) or np.ptp(before)):
        return Estimate(gap, math.nan, math.nan, runs), math.nan
    found = stats.ttest_ind(after, before, equal_var=False)
    low, high = found.confidence_interval(level)
    return Estimate(gap, float(low), float(high), runs), float(found.pvalue)


def _corrected(changes: Sequence[Change], alpha: float) -> list[Change]:
    """With Holm's step-down over those that could be tested."""
    tested = [at for at, change in enumerate(changes) if not math.isnan(change.p)]
    result, largest = list(changes), 0.0
    for done, at in enumerate(sorted(tested, key=lambda at: changes[at].p)):
        largest = max(largest, min(1.0, changes[at].p * (len(tested) - done)))
        verdict: Verdict = "not shown"
        if largest <= alpha:
            verdict = "better" if changes[at].difference.value > 0 else "worse"
        result[at] = replace(changes[at], adjusted_p=largest, verdict=verdict)
    return result


def _overall(changes: Sequence[Change]) -> float:
    """Each data set counts once, with the mean over its methods, which are not independent of one another."""
    by_data: dict[str, list[float]] = {}
    for change in changes:
        by_data.setdefault(change.data, []).append(change.difference.value)
    shifts = np.array([np.mean(gaps) for gaps in by_data.values()])
    if len(shifts) < 2:
        return math.nan
    (test,) = wilcoxon_holm(np.stack([shifts, np.zeros_like(shifts)], axis=1), ["after", "before"])
    return test.p


def _ratio(old: Groups, new: Groups, both: Sequence[tuple[Any, ...]], column: str) -> float:
    ratios = [new[cell][column] / old[cell][column] for cell in both if old[cell][column] and new[cell][column]]
    return float(median(ratios)) if ratios else math.nan


def _changed(old: Groups, new: Groups, both: Sequence[tuple[Any, ...]], column: str) -> tuple[str, ...]:
    """Facts in a JSON column that differ, each with the number of cells."""
    counts: dict[str, int] = {}
    for cell in both:
        before, after = json.loads(old[cell][column]), json.loads(new[cell][column])
        for name in sorted({*before, *after} - {*_WATCHING}):
            if before.get(name) != after.get(name):
                text = f"{name}: {_short(before.get(name))} → {_short(after.get(name))}"
                counts[text] = counts.get(text, 0) + 1
    return tuple(f"{text} ({count} cell{'' if count == 1 else 's'})" for text, count in counts.items())


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= 60 else f"{text[:59]}…"


def _named(method: tuple[Any, ...]) -> str:
    _, data, labels, backbone, strategy, point = (str(part) for part in method)
    rest = [part for part in (point, "" if labels == "all" else labels) if part]
    return ", ".join([data, f"{backbone}/{strategy}", *rest])


def describe(found: Differences) -> list[str]:
    """For people, a line each; what differs first."""
    if not found.changes:
        return ["The two result sets have no finished cell on the same data in common.", *_circumstances(found)]
    lines = []
    if found.identical:
        lines.append(f"All scores are identical to the last bit, in {len(found.changes)} methods on their data sets.")
    for verdict, title in (("worse", "worse"), ("better", "better")):
        lines += [f"{title}: {_line(change)}" for change in found.changes if change.verdict == verdict]
    if not found.identical:
        shown = sum(change.verdict in ("better", "worse") for change in found.changes)
        alpha = f"{1 - found.level:.2g}"
        lines.append(
            f"{shown} of {len(found.changes)} differences are shown at {alpha}, Holm's correction for their number included."
        )
        lines += [f"not shown: {_line(change)}" for change in found.changes if _moved(change, "not shown")]
        lines += [
            f"one seed or no spread, not testable: {_line(change)}"
            for change in found.changes
            if _moved(change, "not testable")
        ]
        if not math.isnan(found.overall_p):
            text = wording.p_value(found.overall_p)
            lines.append(f"Over data sets, each with its methods' mean (Wilcoxon's signed ranks): p {text}.")
    return [*lines, *_circumstances(found)]


def _moved(change: Change, verdict: Verdict) -> bool:
    return change.verdict == verdict and change.difference.value != 0


def _line(change: Change) -> str:
    half = wording.half_width(change.difference)
    spread = "" if half is None else f" ± {half:.3f}"
    p = "" if math.isnan(change.adjusted_p) else f", p {wording.p_value(change.adjusted_p)}"
    how = "" if change.paired else ", not paired by seed"
    scores = f"{change.metric} {change.before:.3f} → {change.after:.3f}"
    return f"{change.name}: {scores} ({change.difference.value:+.3f}{spread}{p}{how})"


def _circumstances(found: Differences) -> list[str]:
    lines = []
    if not math.isnan(found.seconds):
        times = (
            f"{found.seconds:.2f} times as long as before (median), {found.cpu_seconds:.2f} times the processor time"
        )
        lines.append(f"A cell takes {times}.")
    lines += [f"failed now: {folder}: {error}" for folder, error in found.newly_failed]
    lines += [f"setting {text}" for text in found.settings] + [f"version {text}" for text in found.versions]
    for title, folders in (
        ("other data (fingerprints differ), not compared", found.incomparable),
        ("another metric or split, not compared", found.measured_otherwise),
        ("only before", found.only_before),
        ("only after", found.only_after),
    ):
        if folders:
            more = f" and {len(folders) - 5} more" if len(folders) > 5 else ""
            lines.append(f"{title}: {', '.join(folders[:5])}{more}")
    return lines
