"""Metrics of several classes and of numbers against scikit-learn and scipy, and their part of the report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from graftwork.classification.labels import chance, decode, facts_of, metrics_of
from graftwork.classification.multilabel import best_threshold, f1_at
from graftwork.classification.sections import classification_sections
from graftwork.interfaces import Batch, Evaluation, Facts, Metrics, Text

CPU = torch.device("cpu")
NAMES = ["a", "b", "c", "d"]
SINGLE: Facts = {"labels": "single", "classes": NAMES, "train_counts": [60, 30, 9, 1]}
MULTI: Facts = {"labels": "multi", "classes": NAMES, "train_counts": [60, 30, 9, 1], "train_rows": 80}
NUMBER: Facts = {"labels": "number", "classes": [], "train_counts": [], "train_rows": 80, "mean": 3.0, "std": 2.0}
FACTS = {"single": SINGLE, "multi": MULTI, "number": NUMBER}


def make_outcomes(rows: int = 300) -> tuple[Tensor, Tensor]:
    """Probabilities with ties, and multi-hot labels whose last class never occurs."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.rand(rows, 4, generator=generator) < torch.tensor([0.5, 0.2, 0.05, 0.0])
    scores = torch.randn(rows, 4, generator=generator) + 1.5 * labels
    return (scores.sigmoid() * 50).round() / 50, labels


def fill(metrics: Metrics, name: str, said: Tensor, true: Tensor, size: int = 64) -> Metrics:
    predicted, target = {"labels": ("probabilities", "labels"), "value": ("value", "value")}[name]
    for start in range(0, len(true), size):
        part = slice(start, start + size)
        metrics.update({predicted: said[part]}, Batch(torch.arange(len(true))[part], {}, {target: true[part]}))
    return metrics


def test_multi_label_metrics_are_scikit_learns() -> None:
    from sklearn.metrics import average_precision_score, f1_score

    said, true = make_outcomes()
    metrics = fill(metrics_of({**MULTI, "threshold": 0.6}, CPU), "labels", said, true.float())
    found, details = metrics.compute(), json.loads(json.dumps(metrics.details()))
    decided = said >= 0.6
    assert found["map"] == pytest.approx(average_precision_score(true[:, :3], said[:, :3], average="macro"), abs=1e-6)
    assert found["micro_f1"] == pytest.approx(f1_score(true, decided, average="micro"))
    assert found["macro_f1"] == pytest.approx(f1_score(true[:, :3], decided[:, :3], average="macro"))
    assert found["threshold"] == details["threshold"] == 0.6
    lines = details["per_class"]
    each = average_precision_score(true[:, :3], said[:, :3], average=None)
    assert [line["average_precision"] for line in lines[:3]] == pytest.approx(each.tolist(), abs=1e-6)
    assert lines[3]["average_precision"] is None
    assert [line["f1"] for line in lines] == pytest.approx(
        f1_score(true, decided, average=None, zero_division=0).tolist()
    )
    assert [line["rows"] for line in lines] == true.sum(dim=0).tolist()


def test_the_threshold_is_the_best_of_all_and_what_it_decides_is_what_decoding_names() -> None:
    said, true = make_outcomes()
    found = fill(metrics_of(MULTI, CPU), "labels", said, true).compute()
    every = torch.cat([said.flatten().unique(), torch.tensor([0.0, 1.1])]).double()
    assert found["micro_f1"] == pytest.approx(max(f1_at(said.double(), true, float(least))[1] for least in every))
    named = decode({"probabilities": said}, {**MULTI, "threshold": found["threshold"]})
    decided = torch.tensor([[name in row["labels"] for name in NAMES] for row in named])
    assert f1_at(decided.float(), true, 0.5)[1] == pytest.approx(found["micro_f1"])


def test_chance_is_what_random_predictions_score_on_average() -> None:
    _, true = make_outcomes(2000)
    classes = true[:, :2].sum(dim=1)  # 0, 1 or 2, of unlike size
    draw = torch.Generator().manual_seed(0)
    labels = {
        "single": classes.tolist(),
        "multi": [row.nonzero().flatten().tolist() for row in true],
        "number": true.float().sum(dim=1).tolist(),
    }
    targets = {"single": classes, "multi": true.float(), "number": torch.tensor(labels["number"])}
    for kind, metric in (("single", "accuracy"), ("multi", "map"), ("number", "spearman")):
        facts = facts_of(labels[kind], NAMES[:3] if kind == "single" else NAMES, kind)
        scores = []
        for _ in range(20):
            said = torch.rand(2000, 1 if kind == "number" else len(facts["classes"]), generator=draw)
            found = (
                {"value": said[:, 0]} if kind == "number" else {"probabilities": said / said.sum(dim=1, keepdim=True)}
            )
            target = {"single": "label", "multi": "labels", "number": "value"}[kind]
            metrics = metrics_of(facts, CPU)
            metrics.update(found, Batch(torch.arange(2000), {}, {target: targets[kind]}))
            scores.append(metrics.compute()[metric])
        assert float(np.mean(scores)) == pytest.approx(chance(facts), abs=0.01), kind
    assert chance(facts_of(labels["multi"], NAMES, "multi")) == pytest.approx(
        float(true[:, :3].float().mean()), abs=1e-6
    )
    assert chance(FACTS["number"]) == 0.0 and chance({**MULTI, "train_counts": [0] * 4}) == 0.0


def test_a_threshold_exists_where_nothing_can_be_chosen() -> None:
    none = torch.zeros(5, 4, dtype=torch.bool)
    assert 0 <= best_threshold(torch.rand(5, 4).double(), none) <= 1
    assert 0 <= best_threshold(torch.full((5, 4), 0.3).double(), ~none) <= 0.3
    assert best_threshold(torch.zeros(0, 4).double(), none[:0]) == 0.5
    assert np.isnan(fill(metrics_of(MULTI, CPU), "labels", torch.rand(5, 4), none).compute()["map"])


@pytest.mark.filterwarnings("error")
def test_a_single_class_and_classes_that_do_not_occur_are_measured_without_a_warning() -> None:
    from sklearn.metrics import average_precision_score

    said, true = make_outcomes()
    one = {**MULTI, "classes": ["a"], "train_counts": [60]}
    found = fill(metrics_of(one, CPU), "labels", said[:, :1], true[:, :1]).compute()
    assert found["map"] == pytest.approx(average_precision_score(true[:, 0], said[:, 0]), abs=1e-6)
    assert not true[:, 3].any()
    assert fill(metrics_of(MULTI, CPU), "labels", said, true).compute()["map"] > 0


@pytest.mark.parametrize("unit", [1.0, 1e-8, 1e6])
def test_number_metrics_are_scipys_and_scikit_learns_in_any_unit(unit: float) -> None:
    from scipy.stats import pearsonr, spearmanr
    from sklearn.metrics import mean_absolute_error, root_mean_squared_error

    generator = torch.Generator().manual_seed(4)
    true = (torch.randn(200, generator=generator) * 3).round() * unit  # ties
    said = true + 2 * unit * torch.randn(200, generator=generator)
    found = fill(metrics_of(NUMBER, CPU), "value", said, true).compute()
    assert found["spearman"] == pytest.approx(spearmanr(said, true).statistic)
    assert found["pearson"] == pytest.approx(pearsonr(said.double(), true.double()).statistic)
    assert found["rmse"] == pytest.approx(root_mean_squared_error(true.double(), said.double()))
    assert found["mae"] == pytest.approx(mean_absolute_error(true.double(), said.double()))


@pytest.mark.parametrize("value", [0.0, 0.1, 123456.7])
def test_constant_predictions_correlate_with_nothing(value: float) -> None:
    found = fill(metrics_of(NUMBER, CPU), "value", torch.full((101,), value), torch.randn(101)).compute()
    assert (found["spearman"], found["pearson"]) == (0.0, 0.0)


def test_a_report_draws_a_limited_number_of_points() -> None:
    values = torch.randn(3999)
    assert len(fill(metrics_of(NUMBER, CPU), "value", values, values, 4000).details()["points"]) == 2000


@pytest.mark.parametrize("kind", FACTS)
def test_metrics_over_no_rows_are_empty(kind: str) -> None:
    assert metrics_of(FACTS[kind], CPU).compute() == {}


PROCESS = """
import sys, json, torch, torch.distributed as distributed
from graftwork.interfaces import Batch
from graftwork.classification.labels import metrics_of
rank, meeting, data, facts = int(sys.argv[1]), sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method="file://" + meeting, rank=rank, world_size=2)
found = []
for kind, (said, true) in torch.load(data).items():
    for cut in (110, 300):  # uneven, and a process without rows
        part = slice(*[(0, cut), (cut, 300)][rank])
        metrics = metrics_of(facts[kind], torch.device("cpu"))
        if len(true[part]):
            names = ("probabilities", "labels") if kind == "multi" else ("value", "value")
            batch = Batch(torch.arange(300)[part], {}, {names[1]: true[part]})
            metrics.update({names[0]: said[part]}, batch)
        found.append([metrics.compute(), metrics.details()])
print(json.dumps(found))
distributed.barrier()
distributed.destroy_process_group()
"""


def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    said, true = make_outcomes()
    outcomes = {"multi": (said, true.float()), "number": (said[:, 0], true[:, 0] + said[:, 1])}
    torch.save(outcomes, tmp_path / "data.pt")
    places = [str(tmp_path / "meeting"), str(tmp_path / "data.pt"), json.dumps(FACTS)]
    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(rank), *places], stdout=subprocess.PIPE) for rank in (0, 1)
    ]
    alone = [fill(metrics_of(FACTS[kind], CPU), {"multi": "labels", "number": "value"}[kind], *outcomes[kind])
             for kind in outcomes for _ in range(2)]  # fmt: skip
    expected = json.loads(json.dumps([[one.compute(), one.details()] for one in alone]))
    for process in processes:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0
        assert json.loads(output) == expected


def evaluation_of(metrics: Metrics) -> Evaluation:
    details = json.loads(json.dumps(metrics.details()))
    return Evaluation("test", metrics.compute(), details, [], None)


def test_sections_show_several_classes_and_numbers() -> None:
    said, true = make_outcomes()
    facts = {**MULTI, "threshold": 0.6}
    [several] = classification_sections(evaluation_of(fill(metrics_of(facts, CPU), "labels", said, true)), facts)
    text, table = several.blocks
    assert isinstance(text, Text)
    assert "0.600" in text.text
    assert sorted(row[0] for row in table.rows) == NAMES  # type: ignore[union-attr]
    numbers = evaluation_of(fill(metrics_of(NUMBER, CPU), "value", said[:, 0], said[:, 1]))
    assert [section.title for section in classification_sections(numbers, NUMBER)] == ["Predicted and true"]


def test_a_table_of_many_classes_shows_those_that_occur_and_says_what_it_leaves_out() -> None:
    names = [f"class {number}" for number in range(80)]
    lines = [
        {"class": name, "average_precision": 0.5, "f1": at / 80, "rows": int(at >= 65)} for at, name in enumerate(names)
    ]
    facts = {"labels": "multi", "classes": names, "train_counts": [1] * 80}
    evaluation = Evaluation("test", {}, {"threshold": 0.5, "per_class": lines}, [], None)
    [section] = classification_sections(evaluation, facts)
    _, left_out, table = section.blocks
    assert isinstance(left_out, Text)
    assert "15 of 80" in left_out.text
    assert [row[0] for row in table.rows] == names[65:]  # type: ignore[union-attr]
