"""What is known before torch is imported: fitting names, options, weights, and hostile model cards."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from graftwork.catalogue import BackboneEntry, Catalogue, DatasetEntry, HeadEntry, TaskEntry, load_catalogue
from graftwork.catalogue.references import backbone_entry, opened_by, read_model_card
from graftwork.config import override_layer, validate
from graftwork.config.check import check, resolve_and_check
from graftwork.errors import UsageError

COMMON = {"plugin": "p", "summary": "s", "factory": "m:f"}
BASE = {"task": "toy", "data": "photos"}
CARD = {
    "format": "graftwork-model/1",
    "task": {"name": "toy", "options": {}},
    "backbone": {"name": "toynet", "options": {}},
    "head": {"name": "toyhead", "options": {}},
    "facts": {},
    "sha256": "0" * 64,
}


@pytest.fixture
def catalogue() -> Catalogue:
    found = load_catalogue()
    found.entries["tasks"] = {
        "toy": TaskEntry.model_validate(
            {
                **COMMON, "modality": "image", "primary_metric": "accuracy", "default_backbone": "toynet",
                "default_head": "toyhead", "options": {"size": {"type": "int", "default": 8, "minimum": 1, "summary": ""}},
            }
        )
    }  # fmt: skip
    weights = {"source": "https://example.org/w", "size": 1, "sha256": "0" * 8, "revision": "1", "licence": "MIT"}
    facts = {**COMMON, "stages": 2, "parameters": 10, "licence": "MIT", "input": {}}
    found.entries["backbones"] = {
        "toynet": BackboneEntry.model_validate(
            {
                **facts, "modality": "image", "features": {"pooled": 8}, "default_weights": "first",
                "weights": {"first": {**weights, "summary": "s"}},
            }
        ),
        "bare": BackboneEntry.model_validate({**facts, "modality": "image", "features": {"map4": 8}}),
        "words": BackboneEntry.model_validate({**facts, "modality": "text", "features": {"pooled": 8}}),
    }  # fmt: skip
    found.entries["heads"] = {
        "toyhead": HeadEntry.model_validate({**COMMON, "tasks": ["toy"], "needs": ["pooled"]}),
        "boxes": HeadEntry.model_validate({**COMMON, "tasks": ["detection"], "needs": ["map4"]}),
    }
    found.entries["datasets"] = {
        name: DatasetEntry.model_validate({**COMMON, "task": task, "rows": 1, "licence": "MIT", "source": "s"})
        for name, task in (("toys", "toy"), ("texts", "text-classification"))
    }
    return found


def _problems(catalogue: Catalogue, **settings: Any) -> list[str]:
    return check(validate({**BASE, "backbone": "toynet", "head": "toyhead", **settings}), catalogue)


def test_a_fitting_configuration_has_no_problem(catalogue: Catalogue) -> None:
    assert _problems(catalogue) == []
    assert _problems(catalogue, data="sample:toys", weights="first", strategy="partial:2") == []
    assert _problems(catalogue, weights="none", task_options={"size": 4}) == []


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"backbone": "toinet"}, "Did you mean toynet"),
        ({"head": "toyhat"}, "unknown head"),
        ({"backbone": "words"}, "takes text, task 'toy' needs image"),
        ({"head": "boxes", "backbone": "bare"}, "is not for 'toy'. Known: toyhead"),
        ({"backbone": "bare"}, "needs pooled, which backbone 'bare' does not provide"),
        ({"strategy": "partial:0"}, "at least 1"),
        ({"strategy": "full:3"}, "takes no argument"),
        ({"strategy_options": {"decay": 0.5}, "strategy": "full"}, "strategy_options.decay is not an option. It has none"),
        ({"task_options": {"siz": 1}}, "task_options.siz is not an option. Did you mean size"),
        ({"task_options": {"size": "big"}}, "task_options.size must be int"),
        ({"head_options": {"": 1}}, "head_options. is not an option"),
        ({"weights": "frist"}, "Did you mean first"),
        ({"weights": "nowhere.safetensors"}, "nowhere.safetensors does not exist"),
        ({"weights": "some/folder"}, "does not exist"),
        ({"weights": "run:nowhere"}, "holds no trained model"),
        ({"backbone": "run:nowhere"}, "holds no trained model"),
        ({"data": "sample:texts"}, "is for text-classification, not toy"),
        ({"data": "sample:"}, "unknown dataset"),
    ],
)  # fmt: skip
def test_each_misfit_is_one_clear_line(catalogue: Catalogue, settings: dict[str, Any], what: str) -> None:
    problems = _problems(catalogue, **settings)
    assert any(what in problem for problem in problems), problems
    assert not any("\n" in problem for problem in problems)


def test_all_problems_come_at_once(catalogue: Catalogue) -> None:
    problems = _problems(catalogue, backbone="x", head="y", strategy="z", task_options={"a": 1}, data="sample:q")
    assert len(problems) == 5
    layers = [override_layer({**BASE, "backbone": "x", "head": "y"})]
    with pytest.raises(UsageError, match=r"unknown backbone 'x'.*; unknown head 'y'"):
        resolve_and_check(layers, catalogue)


def test_what_is_left_open_is_filled_in_with_a_reason(catalogue: Catalogue) -> None:
    resolved = resolve_and_check([override_layer(BASE)], catalogue)
    config = resolved.config
    assert (config.backbone, config.head, config.weights) == ("toynet", "toyhead", "first")
    for name in ("backbone", "head", "weights"):
        assert resolved.settings[name].origin == "automatic"
        assert resolved.settings[name].reason


def test_a_backbone_without_weights_starts_from_random_and_says_so(catalogue: Catalogue) -> None:
    catalogue.entries["heads"]["maps"] = HeadEntry.model_validate({**COMMON, "tasks": ["toy"], "needs": ["map4"]})
    resolved = resolve_and_check([override_layer({**BASE, "backbone": "bare", "head": "maps"})], catalogue)
    assert resolved.config.weights == "none"
    assert "no pretrained weights" in resolved.settings["weights"].reason


def test_scratch_starts_from_random_weights_by_its_recipe(catalogue: Catalogue) -> None:
    resolved = resolve_and_check([override_layer({**BASE, "strategy": "scratch"})], catalogue)
    assert resolved.config.weights == "none"
    assert resolved.settings["weights"].origin == "recipe"


def test_what_the_user_set_is_never_replaced(catalogue: Catalogue) -> None:
    flags = {**BASE, "backbone": "toynet", "weights": "first", "head": "toyhead", "strategy": "scratch"}
    resolved = resolve_and_check([override_layer(flags)], catalogue)
    assert all(resolved.explicit(name) for name in flags)
    assert resolved.config.weights == "first"


def test_the_backbone_of_a_run_is_looked_up_by_its_catalogue_name(catalogue: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps(CARD))
    resolved = resolve_and_check([override_layer({**BASE, "backbone": f"run:{tmp_path}"})], catalogue)
    assert resolved.config.weights == f"run:{tmp_path}"
    assert read_model_card(tmp_path) == read_model_card(tmp_path / "model.json") == CARD


def _changed(**parts: Any) -> str:
    return json.dumps({**CARD, **parts})


HOSTILE = [
    "", "{", "null", "[]", "3", '"graftwork-model/1"', "{}", "[" * 100_000, "\x00", '{"format": NaN}',
    _changed(format="graftwork-model/2"), _changed(format=["graftwork-model/1"]), _changed(format=None),
    _changed(format="graftwork-model/1\n"), _changed(task=None), _changed(task="toy"), _changed(task={"name": "toy"}),
    _changed(backbone={"name": "os.system", "options": []}),
    _changed(backbone={"name": "os:system", "options": {}}),
    _changed(backbone={"name": "../../etc/passwd", "options": {}}),
    _changed(backbone={"name": "builtins:eval", "options": {}}),
    _changed(backbone={"name": "toynet\n", "options": {}}),
    _changed(backbone={"name": "", "options": {}}),
    _changed(backbone={"name": "Toynet", "options": {}}),
    _changed(backbone={"name": ["toynet"], "options": {}}),
    _changed(head={"name": "!!python/object:os.system", "options": {}}),
    _changed(head={"name": "a" * 100_000, "options": {}}),
    _changed(head={"name": "toyhead", "plugin": "os:system", "options": {}}),
    _changed(head={"name": "toyhead", "plugin": "../x", "options": {}}),
    _changed(head={"name": "toyhead", "plugin": ["os"], "options": {}}),
    _changed(facts=[]), _changed(facts=None), _changed(sha256=None), _changed(sha256=7),
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_model_card_ends_with_one_clear_line(catalogue: Catalogue, tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.json"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_model_card(tmp_path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 400
    assert _problems(catalogue, backbone=f"run:{tmp_path}")
    assert _problems(catalogue, weights=f"run:{tmp_path}")


def test_a_card_with_a_dotted_catalogue_name_finds_no_code(catalogue: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(_changed(backbone={"name": "os.system", "options": {}}))
    problems = _problems(catalogue, backbone=f"run:{tmp_path}")
    assert any("unknown backbone 'os.system'" in problem for problem in problems)


def test_a_card_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_bytes(b"\x80\x04\x95pickle")
    with pytest.raises(UsageError, match="not readable JSON"):
        read_model_card(tmp_path)


def test_a_reference_is_opened_by_the_backbone_of_the_tasks_modality(catalogue: Catalogue, tmp_path: Path) -> None:
    entry = catalogue.backbone("toynet")
    for name, modality in (("opener", "image"), ("reader", "text")):
        changed = {"modality": modality, "opens": ("hf", "path"), "weights": {}, "default_weights": None}
        catalogue.entries["backbones"][name] = entry.model_copy(update=changed)
    assert opened_by("toynet", catalogue, "image") is None
    assert opened_by("hf:somebody/net", catalogue, "image") == "opener"
    assert opened_by(str(tmp_path), catalogue, "text") == "reader"
    assert opened_by("no-such-folder", catalogue, "text") is None
    with pytest.raises(UsageError, match="no backbone for audio opens"):
        opened_by("hf:somebody/net", catalogue, "audio")
    resolved = resolve_and_check([override_layer({**BASE, "backbone": "hf:somebody/net"})], catalogue)
    assert resolved.config.weights == "hf:somebody/net" and "opened" in resolved.settings["weights"].reason
    chosen = resolve_and_check([override_layer({**BASE, "backbone": str(tmp_path), "weights": "none"})], catalogue)
    assert chosen.config.weights == "none", "what the user set is never replaced"


def test_a_backbone_that_nobody_knows_may_be_a_file_a_folder_or_a_name_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = load_catalogue()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m" / "deep").mkdir(parents=True)
    (tmp_path / "m" / "config.json").write_text("{}")
    for name, hint in (
        ("m/config.json", "which is a file. Give the folder that it lies in: --backbone m$"),
        ("m\\deep", "Did you mean --backbone m/deep[?]$"),
        ("bert-base-uncased", "a model of the hub is hf:NAME$"),
        ("nowhere/model", "A folder must exist"),
        ("x" * 5000, "unknown backbone"),
    ):
        with pytest.raises(UsageError, match=hint) as caught:
            backbone_entry(name, known, "text")
        assert not {"resnet18", "convnext_base"} & set(re.split(r"[ ,.]+", str(caught.value)))


def test_a_head_that_needs_any_map_takes_a_backbone_with_one(catalogue: Catalogue) -> None:
    boxes = HeadEntry.model_validate({**COMMON, "tasks": ["toy"], "needs": ["map*"]})
    catalogue.entries["heads"]["boxes"] = boxes
    assert boxes.lacking(["pooled", "map8", "map32"]) == [] and boxes.lacking(["pooled"]) == ["map*"]
    assert check(validate({**BASE, "backbone": "bare", "head": "boxes", "weights": "none"}), catalogue) == []
    (problem,) = check(validate({**BASE, "backbone": "toynet", "head": "boxes"}), catalogue)
    assert problem == "head 'boxes' needs map*, which backbone 'toynet' does not provide"


def test_weights_of_a_whole_model_are_known_with_its_backbone_only(catalogue: Catalogue) -> None:
    whole = {
        "source": "https://example.org/w", "size": 1, "sha256": "0" * 8, "revision": "1", "licence": "MIT", "summary": "s",
        "backbone": "toynet", "moves": {"body.": ""},
    }  # fmt: skip
    head = {**COMMON, "tasks": ["toy"], "needs": ["pooled"], "weights": {"coco-toynet": whole}}
    catalogue.entries["heads"]["toyhead"] = HeadEntry.model_validate(head)
    chosen = {**BASE, "head": "toyhead", "weights": "coco-toynet"}
    assert check(validate({**chosen, "backbone": "toynet"}), catalogue) == []
    problems = check(validate({**chosen, "backbone": "bare"}), catalogue)
    assert any("unknown weights 'coco-toynet'" in problem for problem in problems)
    (typo,) = check(validate({**chosen, "backbone": "toynet", "weights": "coco-toynett"}), catalogue)
    assert "coco-toynet" in typo.partition(". ")[2]


def test_a_kind_of_balance_that_a_head_does_not_know_is_told_before_data_is_read(catalogue: Catalogue) -> None:
    for kind in ("weights", "focal"):
        (problem,) = check(validate({**BASE, "backbone": "toynet", "head": "toyhead", "imbalance": kind}), catalogue)
        assert problem == f"head 'toyhead' does not know --imbalance {kind}. Try sampler"
    assert check(validate({**BASE, "backbone": "toynet", "head": "toyhead", "imbalance": "sampler"}), catalogue) == []


def test_the_recipe_of_another_tasks_sample_is_left_alone() -> None:
    with pytest.raises(UsageError) as caught:
        resolve_and_check([override_layer({"task": "detection", "data": "sample:digits"})], load_catalogue())
    assert str(caught.value) == "sample:digits is for image-classification, not detection"
