"""The examples in use: a domain and a strategy of third parties in every command, and through a kill."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

KILLED = Path(__file__).with_name("killed_child.py")
COMMANDS = Path(__file__).with_name("commands_child.py")


def test_a_new_domain_works_in_every_command(stranger: Callable[..., Any], tmp_path: Path) -> None:
    labelled = _wines()
    labelled.to_csv(tmp_path / "wines.csv", index=False)
    labelled.drop(columns="label").to_csv(tmp_path / "new.csv", index=False)
    table, fast = "--task table-classification", "--device cpu --set workers=0 --seed 1 --epochs 8 --json"
    # From one table to another with other columns; the states of the frozen stages are kept and used.
    transfer = "--weights run:cells --strategy lp-ft"
    plugins, looked, cells, wine, again, said, _, why = _graft(
        stranger,
        "list plugins --json",
        f"inspect {table} --data sample:wine --json",
        f"train {table} --data sample:breast-cancer --out cells {fast}",
        f"train {table} --data sample:wine --out wine {transfer} {fast}",
        "evaluate wine --data wines.csv --split train --json",
        "predict wine new.csv --json",
        "report cells wine",
        "explain wine",
    )
    assert {"graftwork-timm", "graftwork-tables", "graftwork-bss"} <= {plugin["name"] for plugin in json.loads(plugins)}
    assert json.loads(looked)["rows"] == {"train": 124, "validation": 27, "test": 27}
    for summary in map(json.loads, (cells, wine)):
        assert summary["test"]["accuracy"] > 0.85 and summary["proofs"]["artifact"].endswith("bit-identically")
    plan = json.loads((tmp_path / "wine" / "plan.json").read_text())
    assert plan["weights"]["fitted"] == 21 and not plan["weights"]["missing"]
    assert plan["phases"][0]["rows"]["kept"], plan["phases"][0]["rows"]
    right = sum(line["label"] == truth for line, truth in zip(json.loads(said), labelled["label"], strict=True))
    assert json.loads(again)["rows"] == 178
    assert json.loads(again)["metrics"]["accuracy"] == pytest.approx(right / 178)
    assert "Confusion matrix" in (tmp_path / "wine" / "report.html").read_text()
    assert "lp-ft" in why


def _graft(stranger: Callable[..., Any], *commands: str) -> list[str]:
    """What commands print, run one after the other."""
    done = stranger(sys.executable, COMMANDS, json.dumps([command.split() for command in commands]))
    assert done.code == 0, done.stderr
    ran = json.loads(done.stdout)
    for command, (code, _, said) in zip(commands, ran, strict=True):
        assert code == 0, f"graft {command}: {said}"
    return [printed for _, printed, _ in ran]


def _wines() -> Any:
    from sklearn.datasets import load_wine

    bunch = load_wine(as_frame=True)
    return bunch.data.assign(label=bunch.target_names[bunch.target])


@pytest.mark.acceptance
def test_a_new_domain_and_a_new_strategy_resume_exactly(stranger: Callable[..., Any], tmp_path: Path) -> None:
    done = stranger(sys.executable, KILLED, tmp_path)
    assert done.code == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == {"bss": True, "lp-ft": True}


def test_an_example_that_is_not_installed_is_a_clear_line(graft: Callable[..., Any]) -> None:
    done = graft("train", "--task", "table-classification", "--data", "sample:wine")
    assert done.code == 2 and len(done.errors) == 1 and "table-classification" in done.errors[0]
