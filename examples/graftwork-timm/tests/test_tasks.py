"""timm's backbones in graftwork's own tasks: every one trains a step, and a whole run of each goes through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from graftwork.catalogue import load_catalogue
from graftwork.catalogue.versions import requirement_versions
from graftwork.config import RunConfig, override_layer
from graftwork.config.check import resolve_and_check
from graftwork.data.loader import load_batches
from graftwork.data.sampler import in_order
from graftwork.errors import RunFailed
from graftwork.interfaces import Task
from graftwork.models.build import Builder
from graftwork.run import execute
from graftwork.runs.data import RunData, read_data

TASKS = {
    "image-classification": "sample:digits",
    "detection": "sample:digit-scenes",
    "segmentation": "sample:digit-masks",
}
BACKBONES = (
    "timm-resnet18",
    "timm-convnext-atto",
    "timm-deit-tiny",
    "timm-efficientnet-lite0",
    "timm:mobilenetv3_small_050",
)


def config(task: str, backbone: str, **flags: Any) -> Any:
    size = ["task_options.size=64"] if task != "image-classification" else []
    given = {"task": task, "data": TASKS[task], "backbone": backbone, "weights": "none", "device": "cpu", **flags}
    options = [*size, "backbone_options.image_size=64", "workers=0"]
    return resolve_and_check([override_layer(given, options)], load_catalogue())


@pytest.fixture(scope="module")
def builder() -> Builder:
    return Builder(load_catalogue())


@pytest.fixture(scope="module", params=TASKS)
def problem(request: pytest.FixtureRequest, builder: Builder) -> tuple[RunConfig, Task, RunData]:
    """A first-party task and its embedded data, read once."""
    settings = config(request.param, "timm-resnet18").config
    data = read_data(settings, builder)
    return settings, data.task, data


@pytest.mark.parametrize("name", BACKBONES)
def test_every_image_task_trains_a_step_and_predicts(
    problem: tuple[RunConfig, Task, RunData], builder: Builder, name: str
) -> None:
    _, task, data = problem
    settings = config(problem[0].task, name).config
    model = builder.model(builder.backbone_spec(settings), builder.head_spec(settings), data.facts, 0)
    builder.load_weights(model, settings, builder.backbone_spec(settings).name)
    examples = task.examples(data.tables.splits["train"].select(range(4)), model.backbone.input, data.facts, True)
    (batch,) = load_batches(examples, in_order(4, 4), 0, 0)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    before = {name: parameter.detach().clone() for name, parameter in model.backbone.named_parameters()}
    counts = model.head.counts(batch.targets)
    losses = {part: value / counts[part] for part, value in model.train()(batch).items()}
    torch.stack(list(losses.values())).sum().backward()
    optimizer.step()
    assert all(torch.isfinite(value) for value in losses.values()), losses
    moved = [name for name, value in model.backbone.named_parameters() if not torch.equal(value, before[name])]
    assert len(moved) > 0.8 * len(before)
    assert len(task.decode(model.predict(batch), data.facts)) == 4


def test_a_whole_run_goes_through(tmp_path: Path) -> None:
    resolved = config("detection", "timm:regnetx_002", epochs=1, limit_train=12, batch_size=6, strategy="partial:2")
    summary = execute(resolved, load_catalogue(), tmp_path / "run")
    assert summary["proofs"]["artifact"].endswith("bit-identically")
    assert summary["test"]


def test_weights_that_were_downloaded_before_are_found_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = timm.create_model("mobilenetv3_small_050.lamb_in1k")
    folder = tmp_path / "models--timm--mobilenetv3_small_050.lamb_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    save_file(model.state_dict(), folder / "snapshots" / ("0" * 40) / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    resolved = config("image-classification", "timm:mobilenetv3_small_050", weights="auto", epochs=1, limit_train=20)
    summary = execute(resolved, load_catalogue(), tmp_path / "run")
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    card = json.loads((tmp_path / "run" / "model.json").read_text())
    assert plan["weights"]["source"] == "timm:mobilenetv3_small_050"
    assert not plan["weights"]["missing"] and not plan["weights"]["unexpected"] and plan["weights"]["fitted"] > 100
    assert card["backbone"]["options"]["model"] == "mobilenetv3_small_050.lamb_in1k"
    assert summary["backbone"] == "timm:mobilenetv3_small_050"


def test_kept_states_depend_on_the_version_of_timm() -> None:
    assert requirement_versions(["graftwork-timm"])["timm"] == timm.__version__


def test_weights_that_cannot_be_had_are_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    resolved = config("image-classification", "timm:mobilenetv3_small_050", weights="auto")
    with pytest.raises(RunFailed, match=r"not downloaded before.*--weights none"):
        execute(resolved, load_catalogue(), tmp_path / "run")
