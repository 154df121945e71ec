"""How results are put into words, the same on the page, in Markdown and on a terminal: never more than the numbers show."""

from __future__ import annotations

import math
from collections.abc import Sequence

from graftwork.bench.analysis import Analysis, Comparison
from graftwork.bench.hyper import HyperParameters
from graftwork.bench.statistics import Estimate, PairedGain

_LISTED = 10

GAINS = {"positive": "better", "negative": "worse", "not shown": "not shown"}


def estimate(found: Estimate, digits: int = 3) -> str:
    """`0.812 ± 0.021`, or the value alone where there is no interval."""
    half = half_width(found)
    value = f"{found.value:.{digits}f}"
    return value if half is None else f"{value} ± {half:.{digits}f}"


def half_width(found: Estimate) -> float | None:
    """Half of an interval's width; None where the runs were too few for one."""
    return None if math.isnan(found.low) else (found.high - found.low) / 2


def interval(found: Estimate, digits: int = 3) -> str:
    """`0.812 (0.790 to 0.834)`: for intervals that are not symmetric."""
    value = f"{found.value:.{digits}f}"
    return value if math.isnan(found.low) else f"{value} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def gain(found: PairedGain | None) -> str:
    """`+0.124 ± 0.030 better`: than scratch, and shown; empty where nothing was transferred."""
    if found is None:
        return ""
    half = half_width(found.mean)
    text = f"{found.mean.value:+.3f}" + ("" if half is None else f" ± {half:.3f}")
    return f"{text} {GAINS[found.verdict]}"


def comparison(found: Comparison, level: float) -> list[str]:
    """What is shown of several strategies or backbones, a sentence a line, the limits of the evidence first."""
    plural, held = {"strategy": ("strategies", "backbones"), "backbone": ("backbones", "strategies")}[found.of]
    count = f"{len(found.data)} data set{'' if len(found.data) == 1 else 's'}"
    lines = [
        f"{len(found.names)} {plural} on {count} ({_listed(found.data)}), {held} {_listed(found.held)} held, wherever all of "
        f"them finished. Ranks and tests take one score a data set, the mean over what was held there."
    ]
    if found.left_out:
        lines.append(f"Left out, since they did not finish wherever these did: {', '.join(found.left_out)}.")
    bare = [name for name, mean in zip(found.names, found.interquartile_means, strict=True) if math.isnan(mean.low)]
    if bare:
        lines.append(
            f"No interval of the interquartile mean for {_listed(bare)}: somewhere there is one seed, which shows no spread."
        )
    alpha = f"{1 - level:.2g}"
    if found.friedman is not None:
        test = found.friedman
        verdict = "not all are equal" if test.f_p <= 1 - level else "no difference is shown"
        value = "∞" if math.isinf(test.f) else f"{test.f:.2f}"
        lines.append(
            f"Friedman's test (Iman and Davenport's F = {value}): p {p_value(test.f_p)}, {verdict} at {alpha}."
        )
    lines.append(_nemenyi(found))
    if len(found.data) < found.data_needed:
        lines.append(
            f"Wilcoxon's test with Holm's correction cannot show any difference on {count}, whatever the scores: "
            f"{len(found.names)} {plural} need {found.data_needed} at least."
        )
    else:
        lines.append(_pairs(found, alpha))
    return lines


def _nemenyi(found: Comparison) -> str:
    """Which average ranks lie apart by the critical difference."""
    ranks = dict(zip(found.names, found.ranks, strict=True))
    text = f"Nemenyi's critical difference of average ranks is {found.critical_difference:.2f}"
    apart = [
        f"{one} before {two}"
        for at, one in enumerate(found.names)
        for two in found.names[at + 1 :]
        if ranks[two] - ranks[one] >= found.critical_difference
    ]
    return f"{text}: {_listed(apart) if apart else 'no two are shown to differ'}."


def _pairs(found: Comparison, alpha: str) -> str:
    different = [
        f"{pair.first} and {pair.second} (p {p_value(pair.adjusted_p)})" for pair in found.pairs if pair.differs
    ]
    said = f"differ: {_listed(different)}" if different else "no two are shown to differ"
    return f"Wilcoxon's signed ranks with Holm's correction at {alpha}: {said}."


def _listed(items: Sequence[str]) -> str:
    """The first ten, and how many more there are."""
    more = f" and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    return ", ".join(items[:_LISTED]) + more


def p_value(p: float) -> str:
    """`= 0.012`, or `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def same_everywhere(found: HyperParameters) -> str:
    """What all methods had in common."""
    same = ", ".join(f"{name} {value}" for name, value in found.same)
    return f"The same everywhere: {same}." if same else "Nothing was the same everywhere."


def protocol(analysis: Analysis) -> list[str]:
    """How the numbers came about."""
    return [
        "All cells of one data set, budget and seed have the same splits. The validation split chose the epoch and, where "
        "something was swept, the point; the test split was read once, at the end of each run.",
        _spread(max((len(entry.seeds) for entry in analysis.entries), default=0), analysis.level),
        "Gains are judged one by one, without correction for their number.",
        "Normalised: chance is 0, the reference 1; without a reference in the suite, the best of this result set. "
        "Not shown does not mean equal.",
    ]


def _spread(seeds: int, level: float) -> str:
    """What the intervals are; `seeds`: of the method that has the most."""
    if seeds == 0:
        return "No cell has finished, so there is no score yet."
    if seeds == 1:
        return "There is one seed, so no interval: differences may be chance."
    text = f"Scores are means over up to {seeds} seeds with Student's {level:.0%} interval."
    return text if seeds >= 10 else f"{text} Bootstrap intervals over so few seeds come out too narrow."
