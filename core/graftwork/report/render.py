"""The page of one run: what came out, how it was trained, on which data, and what was checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graftwork.interfaces import Figure, Section
from graftwork.report.figures import learning_curves
from graftwork.report.format import mebibytes, number, seconds, share
from graftwork.report.page import draw, draw_sections, fill
from graftwork.report.view import RunView

SPLITS = ("train", "validation", "test")


def render(run: RunView, sections: Sequence[Section]) -> str:
    """One self-contained HTML page: no script, nothing from the network, every text escaped.

    Args:
        run: from `load_view`.
        sections: the task's part, from `Task.sections`; may be empty.

    Returns:
        The HTML text, to be written as UTF-8.
    """
    figure = learning_curves([run], [run.name])
    caption = "Dashed lines: a new phase starts. The star: the epoch whose weights were kept."
    return fill(
        "run.html.j2",
        {
            "title": f"{run.name} · graftwork",
            "run": run,
            "subtitle": _subtitle(run),
            "cards": _cards(run),
            "metrics": _metrics(run),
            "curves": draw(Figure(figure, caption), "curves") if figure else None,
            "sections": draw_sections(sections),
            "weights": _weights(run.plan.get("weights") or {}),
            "data": _data(run),
            "settings": run.plan.get("settings") or [],
            "environment": _environment(run),
        },
    )


def metric_of(run: RunView, split: str, name: str) -> Any:
    """A metric of the summary, `val` or `test`; of an unfinished run validation's best so far; None when unknown."""
    found = (run.summary.get(split) or {}).get(name)
    if found is None and split == "val" and run.best_epoch is not None:
        line = next((line for line in run.epochs if line["epoch"] == run.best_epoch), {})
        found = (line.get("val") or {}).get(name)
    return found


def rows_of(run: RunView, split: str) -> int | None:
    """Rows of `train`, `val` or `test`, from the summary or else from the data's description."""
    rows = run.summary.get(f"{split}_rows")
    if rows is None:
        rows = (run.data.get("rows") or {}).get("validation" if split == "val" else split)
    return rows if isinstance(rows, int) else None


def seconds_of(run: RunView) -> float:
    """Wall time of the run; of an unfinished one that of its epochs."""
    total = run.summary.get("seconds")
    return float(total) if isinstance(total, int | float) else sum(line.get("seconds") or 0.0 for line in run.epochs)


def _subtitle(run: RunView) -> str:
    config = run.config
    parts = [config.get("task"), f"on {config['data']}" if config.get("data") else None]
    if config.get("backbone"):
        weights = config.get("weights")
        parts.append(
            f"{config['backbone']}, {f'weights {weights}' if weights not in (None, 'none') else 'random start'}"
        )
    parts.append(f"head {config['head']}" if config.get("head") else None)
    parts.append(f"strategy {run.plan.get('strategy') or config.get('strategy') or '?'}")
    return " · ".join(str(part) for part in parts if part)


def _cards(run: RunView) -> list[dict[str, str]]:
    name = run.primary_metric
    summary = run.summary
    cards = []

    def add(label: str, value: str, note: str = "") -> None:
        cards.append({"label": label, "value": value, "note": note})

    def rows(split: str) -> str:
        count = rows_of(run, split)
        return f"{count:,} rows" if count is not None else ""

    if metric_of(run, "test", name) is not None:
        add(f"test {name}", number(metric_of(run, "test", name)), rows("test"))
    best = f"epoch {run.best_epoch} of {run.plan.get('epochs') or len(run.epochs)}" if run.best_epoch else ""
    if metric_of(run, "val", name) is not None:
        add(f"validation {name}", number(metric_of(run, "val", name)), " · ".join(x for x in (rows("val"), best) if x))
    if rows_of(run, "train") is not None:
        add("trained on", f"{rows_of(run, 'train'):,} rows")
    speed = summary.get("samples_per_second")
    add("time", seconds(seconds_of(run)), f"{speed:,.0f} samples a second" if isinstance(speed, int | float) else "")
    parameters = summary.get("parameters") or {}
    if parameters:
        trained, total = parameters.get("trained"), parameters.get("total")
        add("parameters trained", number(trained), f"{share(trained, total)} of {number(total)}")
    if summary.get("device"):
        memory = summary.get("peak_memory_bytes")
        note = [str(summary["precision"])] if summary.get("precision") else []
        note += [f"peak {mebibytes(memory)}"] if memory else []
        add("device", str(summary["device"]), " · ".join(note))
    return cards


def _metrics(run: RunView) -> dict[str, Any]:
    val, test = run.summary.get("val") or {}, run.summary.get("test") or {}
    rows = [[name, val.get(name), test.get(name)] for name in dict.fromkeys([*val, *test])]
    note = f"The best epoch was chosen by validation {run.primary_metric}; the test split was read once, at the end."
    return {"columns": ["metric", "validation", "test"], "rows": rows, "note": note if test else ""}


def _weights(weights: dict[str, Any]) -> dict[str, Any] | None:
    if not weights:
        return None
    lists = [(kind, [str(name) for name in weights.get(kind) or []]) for kind in ("missing", "unexpected", "reshaped")]
    fitted = weights.get("fitted")
    count = len(fitted) if isinstance(fitted, list) else fitted
    rows: list[list[Any]] = [
        ["source", str(weights.get("source") or "none: random start")],
        ["tensors that fitted", count],
    ]
    rows += [[kind, len(names)] for kind, names in lists]
    return {"rows": [[name, number(value)] for name, value in rows], "lists": [entry for entry in lists if entry[1]]}


def _data(run: RunView) -> dict[str, Any]:
    data = run.data
    if not data:
        return {}
    rows = [["source", data.get("source")]]
    counts = data.get("rows") or {}
    rows += [[f"{split} rows", number(counts[split])] for split in [*SPLITS, *counts] if split in counts]
    rows += [["fingerprint", data.get("fingerprint")]]
    order = {"error": 0, "warning": 1}
    findings = sorted(data.get("findings") or [], key=lambda finding: order.get(finding.get("level"), 2))
    unique = {row[0]: row for row in rows if row[1]}
    return {"rows": list(unique.values()), "findings": findings}


def _environment(run: RunView) -> list[list[str]]:
    summary = run.summary
    rows = [[name, summary.get(name)] for name in ("device", "precision", "seed")]
    versions = summary.get("versions") or {}
    rows += [[name, versions[name]] for name in versions] if isinstance(versions, dict) else []
    return [[str(name), str(value)] for name, value in rows if value is not None]
