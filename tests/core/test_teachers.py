"""A strategy that is taught by a trained run: what the teacher says of each row and view is right, kept, and resumes exactly."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from installed_plugins import strategy_registry, write_plugin
from safetensors.torch import load_file
from track_runs import At

from graftwork import UsageError
from graftwork.catalogue import Catalogue, load_catalogue
from graftwork.config import override_layer
from graftwork.config.check import resolve_and_check
from graftwork.machine.device import Device
from graftwork.run import assemble, execute, settle
from graftwork.runs.predict import open_predictor

CODE = '''
from graftwork import hookimpl

def build(spec):
    import torch
    from dataclasses import dataclass, replace
    from graftwork.interfaces import Phase, Plan, Strategy, Term, stage_groups

    class Distillation(Term):
        """Cross-entropy with what the teacher says (Hinton et al. 2015), at temperature 2."""

        def __init__(self, name):
            super().__init__()
            self.name = name

        def loss(self, model, batch, features):
            theirs = batch.given[self.name]["logits"]
            ours = model.head.outputs(features)["logits"].float()
            return {"distil": -(torch.softmax(theirs / 2, 1) * torch.log_softmax(ours / 2, 1)).sum()}

        def counts(self, batch):
            return {"distil": torch.tensor(float(len(batch)))}

    class Taught(Strategy):
        def prepare(self, model, batch, open):
            self.teacher = open(spec.options["teacher"])

        def plan(self, model, context):
            frozen = int(spec.options["frozen"])
            groups = stage_groups(model, frozen, context.weight_decay)
            terms = (Distillation(self.teacher.name),)
            return Plan("taught", (Phase("taught", context.epochs, frozen, groups, context.lr, terms=terms, head_loss=True),))

    return Taught()

@hookimpl
def graftwork_strategies():
    return {"taught": build}
'''
COMMON = {"device": "cpu", "precision": "fp32", "workers": 0, "compile": "off", "batch_size": 8, "epochs": 2}
TASKS: Mapping[str, Mapping[str, Any]] = {
    "images": {"task": "image-classification", "data": "sample:digits", "limit_train": 30, "views": 2, **COMMON},
    "texts": {
        "task": "text-classification",
        "data": "sample:messages",
        "backbone": "graftext-s",
        "limit_train": 30,
        **COMMON,
    },
}


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    folder = tmp_path_factory.mktemp("plugins")
    registry = strategy_registry("graft-taught", "taught").replace(
        "summary: a strategy}",
        "summary: a strategy, options: {teacher: {type: str, default: none, summary: a run}, "
        "frozen: {type: int, default: 0, summary: stages}}}",
    )
    registry = registry.replace("graft_taught.code:build", "graft_taught:build")
    write_plugin(folder, "graft-taught", registry, CODE)
    sys.path.insert(0, str(folder))
    yield load_catalogue()
    sys.path.remove(str(folder))
    sys.modules.pop("graft_taught", None)


@pytest.fixture(scope="module", params=TASKS)
def taught(request: pytest.FixtureRequest, catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A teacher and the settings of a run that it teaches."""
    out = tmp_path_factory.mktemp("teacher") / "run"
    settings = TASKS[request.param]
    execute(resolve_and_check([override_layer({**settings, "strategy": "full"})], catalogue), catalogue, out)
    return {**settings, "strategy": "taught", "strategy_options": {"teacher": f"run:{out}"}}, out


def test_what_is_given_is_what_the_teacher_says_of_the_row_in_its_view(taught: Any, catalogue: Catalogue) -> None:
    settings, out = taught
    device = Device("cpu", "fp32")
    found = []
    for cache in ("auto", "off", "auto"):
        resolved = resolve_and_check([override_layer({**settings, "cache": cache})], catalogue)
        planned = settle(assemble(resolved, catalogue), device)
        states = planned.fitting.states
        assert states is not None
        rows = states.data(planned.fitting.model, 0, lambda: False)
        count = len(planned.assembled.data.tables.splits["train"])
        numbers = [0, 5, 3, *((count + 5, count + 3) if rows.views == 2 else ())]
        batch = rows.train.collate(numbers, [rows.train.load(number) for number in numbers])
        found.append(batch.given[f"run:{out}"]["logits"])
    assert torch.allclose(found[0], found[1], atol=1e-5) and torch.equal(found[0], found[2]), "kept equals computed"
    if "views" in settings:
        assert not torch.allclose(found[0][1], found[0][3]), "view 1 is the mirror image"
    with open_predictor(out, catalogue, "cpu") as (predictor, _):
        model, task = predictor.artifact.model, predictor.artifact.task
        plain = task.examples(
            planned.assembled.data.tables.splits["train"], model.backbone.input, predictor.artifact.facts, False
        )
        said = model.predict(plain.collate([5, 5], [plain.load(5)] * 2))
        assert isinstance(said, dict) and torch.allclose(said["logits"][0], found[0][1], atol=1e-4)


@pytest.mark.parametrize("frozen", [pytest.param(0, marks=pytest.mark.acceptance), 2])
def test_a_taught_run_that_is_interrupted_ends_in_the_same_bits(
    taught: Any, frozen: int, catalogue: Catalogue, tmp_path: Path
) -> None:
    settings = {
        **taught[0],
        "strategy_options": {**taught[0]["strategy_options"], "frozen": frozen},
        "checkpoint_steps": 1,
    }
    resolved = resolve_and_check([override_layer(settings)], catalogue)
    execute(resolved, catalogue, tmp_path / "whole")

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(resolved, catalogue, tmp_path / "cut", observers=[At(3, stop)])
    execute(resolved, catalogue, tmp_path / "cut", resume=True)
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert whole.keys() == cut.keys() and all(torch.equal(whole[name], cut[name]) for name in whole)
    assert not any("terms" in name for name in whole), "neither term nor teacher is in the artifact"


def test_a_teacher_needs_rows_that_stay_the_same(taught: Any, catalogue: Catalogue) -> None:
    settings = dict(taught[0])
    if settings.pop("views", None) is None:
        pytest.skip("texts stay the same")
    for more, words in (({}, "--views V"), ({"views": 2, "task_options": {"mixup": 0.2}}, "mixup")):
        resolved = resolve_and_check([override_layer({**settings, **more})], catalogue)
        with pytest.raises(UsageError, match=words):
            settle(assemble(resolved, catalogue), Device("cpu", "fp32"))


def test_a_teacher_of_another_kind_is_refused(taught: Any, catalogue: Catalogue, tmp_path: Path) -> None:
    settings, out = taught
    other = next(known for name, known in TASKS.items() if known["task"] != settings["task"])
    for given, words in (
        ({**other, "strategy": "taught", "strategy_options": {"teacher": f"run:{out}"}}, "cannot teach"),
        ({**settings, "strategy_options": {"teacher": "resnet18"}}, "is no teacher"),
        ({**settings, "strategy_options": {"teacher": f"run:{tmp_path}"}}, "no trained model"),
    ):
        resolved = resolve_and_check([override_layer(given)], catalogue)
        with pytest.raises(UsageError, match=words):
            settle(assemble(resolved, catalogue), Device("cpu", "fp32"))
