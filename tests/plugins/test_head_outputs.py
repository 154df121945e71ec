"""Outputs of every head of the catalogue: the names of its task, shapes from shapes alone, and what export makes of them."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from torch import Tensor, nn

from graftwork.catalogue import load_catalogue
from graftwork.interfaces import Features, Head, Outputs
from graftwork.testing import HeadConformance

CATALOGUE = load_catalogue()
HEADS = [name for name, entry in CATALOGUE.entries["heads"].items() if entry.plugin in CATALOGUE.ours]
ROWS = 4


class Alone(nn.Module):
    """A head's network, as an exporter takes it."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Features) -> Outputs:
        return self.head.outputs(features)


@lru_cache(maxsize=1)  # tests come head by head
def checks_of(head: str) -> HeadConformance:
    found: HeadConformance = type("Checks", (HeadConformance,), {"head": head})()
    return found


def given(head: str) -> tuple[Head, Features]:
    checks = checks_of(head)
    model, batch = checks.trained_on()
    assert len(batch) == ROWS
    return model.head.eval(), checks.features(model, batch)


def test_every_kind_of_head_is_there() -> None:
    assert {task for head in HEADS for task in CATALOGUE.head(head).tasks} >= {
        "image-classification", "text-classification", "detection", "segmentation",
    }  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_outputs_follow_from_shapes_alone(name: str) -> None:
    checks_of(name).test_outputs_follow_from_shapes_alone()


@pytest.mark.parametrize("name", HEADS)
def test_outputs_have_the_names_and_shapes_of_their_task(name: str) -> None:
    head, features = given(name)
    with torch.no_grad():
        outputs = head.outputs(features)
    assert all(value.dtype == torch.float32 and len(value) == ROWS for value in outputs.values())
    if "detection" in CATALOGUE.head(name).tasks:
        assert set(outputs) == {"boxes", "scores"}
        rows, boxes, classes = outputs["scores"].shape
        assert outputs["boxes"].shape == (rows, boxes, 4) and classes == 10
        assert bool(((outputs["scores"] >= 0) & (outputs["scores"] <= 1)).all())
    else:
        assert set(outputs) == {"logits"}
        assert outputs["logits"].ndim == (4 if "segmentation" in CATALOGUE.head(name).tasks else 2)


@pytest.mark.parametrize("name", HEADS)
def test_an_exported_network_gives_the_same_outputs(name: str) -> None:
    head, features = given(name)
    exported = torch.export.export(Alone(head), (features,), strict=False).module()
    with torch.no_grad():
        expected = head.outputs(features)
        found: dict[str, Tensor] = exported(features)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize("name", [name for name in HEADS if "detection" in CATALOGUE.head(name).tasks])
def test_outputs_can_be_learned_from(name: str) -> None:
    head, features = given(name)
    maps = {key: features[key].requires_grad_() for key in head.needs}
    outputs = head.train().outputs(features)
    (outputs["boxes"].sum() + outputs["scores"].sum()).backward()
    assert all(value.grad is not None and bool(value.grad.isfinite().all()) for value in maps.values())
