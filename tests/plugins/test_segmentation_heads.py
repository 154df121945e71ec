"""Segmentation heads on every family of backbones: maps, masks in the original's pixels, padding, training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from graftwork.errors import DataError, UsageError
from graftwork.interfaces import Backbone, Batch, Features, Head, Model, Spec
from graftwork_images.backbones import BUILDERS
from graftwork_segmentation.heads import deeplabv3, fcn, fpn, lraspp
from graftwork_segmentation.heads.base import SegmentationHead, SteadyBatchNorm2d, coarsest, mask_of, mean_of_picture

PLAIN = {"loss": "ce", "imbalance": "none", "focal_gamma": 2.0, "label_smoothing": 0.0, "dropout": 0.0}
HEADS: Mapping[str, tuple[Callable[[Spec, Backbone, Any], Head], dict[str, Any]]] = {
    "fpn": (fpn.build, {"width": 16}),
    "deeplabv3": (deeplabv3.build, {"width": 16, "stride": 32, "reach": 96}),
    "lraspp": (lraspp.build, {"width": 16}),
    "fcn": (fcn.build, {"width": 16, "stride": 32}),
}
# One of each family, with the maps that fpn, deeplabv3 and fcn, and lraspp take of it.
FAMILIES = {
    "resnet18": ({"map4", "map8", "map16", "map32"}, "map32", {"map8", "map32"}),
    "mobilenet_v3_small": ({"map4", "map8", "map16", "map32"}, "map32", {"map8", "map32"}),
    "convnext_tiny": ({"map4", "map8", "map16", "map32"}, "map32", {"map8", "map32"}),
    "swin_t": ({"map4", "map8", "map16", "map32"}, "map32", {"map8", "map32"}),
    "vit_b_32": ({"map32"}, "map32", {"map32"}),
    "squeezenet1_1": ({"map4", "map8", "map16"}, "map16", {"map8", "map16"}),
    "graftnet-s": ({"map4", "map8"}, "map8", {"map4", "map8"}),
}
FACTS = {"classes": ["ground", "disc", "bar"], "train_counts": [700, 200, 100]}


@lru_cache(maxsize=1)  # the cases come family by family
def backbone_of(name: str) -> Backbone:
    torch.manual_seed(0)
    return BUILDERS[name](Spec(name, {}))


def head_of(name: str, backbone: Backbone, **options: Any) -> SegmentationHead:
    torch.manual_seed(0)
    build, own = HEADS[name]
    head = build(Spec(name, PLAIN | own | options), backbone, FACTS)
    assert isinstance(head, SegmentationHead)
    return head


def inputs_of(rows: int, height: int = 64, width: int = 96) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "pixels": torch.randint(0, 256, (rows, 3, height, width), generator=generator, dtype=torch.uint8),
        "size": torch.tensor([[height, width], [50, 77], [33, 96]])[:rows],
        "original": torch.tensor([[100, 150], [50, 77], [21, 61]])[:rows],
        "canvas": torch.empty(rows, 0, height, width),
    }


def batch_of(rows: int) -> Batch:
    inputs = inputs_of(rows)
    mask = torch.randint(0, 3, (rows, 64, 96), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    for row, (height, width) in enumerate(inputs["size"].tolist()):
        mask[row, height:], mask[row, :, width:] = 255, 255
    return Batch(torch.arange(rows), inputs, {"mask": mask})


class Colours(Backbone):
    """A tiny backbone: maps of strides 4 and 8 from two convolutions, trained in no time."""

    channels_last = True

    def __init__(self) -> None:
        super().__init__()
        self.provides = {"map4": 16, "map8": 32}
        self.first = nn.Sequential(nn.Conv2d(3, 16, 4, stride=4), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(16, 32, 2, stride=2), nn.ReLU())

    def stages(self) -> list[nn.Module]:
        return [self.first, self.second]

    def begin(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"x": inputs["pixels"].float() / 128 - 1}

    def advance(self, index: int, state: dict[str, Tensor], needs: frozenset[str]) -> dict[str, Tensor]:
        if index == 0:
            return {"x": self.first(state["x"])}
        return {"map4": state["x"], "x": self.second(state["x"])}

    def finish(self, state: dict[str, Tensor], needs: frozenset[str]) -> Features:
        return {name: state[key] for name, key in (("map4", "map4"), ("map8", "x")) if name in needs}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_head_trains_and_predicts_on_each_family(family: str, head: str) -> None:
    backbone = backbone_of(family)
    model = Model(backbone, head_of(head, backbone))
    many, one, two = FAMILIES[family]
    assert model.head.needs == {"fpn": many, "lraspp": two}.get(head, {one})
    batch = batch_of(3)
    model.train()
    model.zero_grad()
    sums, counts = model(batch), model.head.counts(batch.targets)
    assert sums.keys() == counts.keys() == {"ce"}
    (sums["ce"] / counts["ce"]).backward()
    # Scores start near zero.
    assert (sums["ce"] / counts["ce"]).item() == pytest.approx(torch.tensor(3.0).log().item(), abs=0.3)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.head.parameters())
    masks = [row["mask"] for row in model.predict(batch)]
    assert [tuple(mask.shape) for mask in masks] == [(100, 150), (50, 77), (21, 61)]
    assert all(mask.dtype == torch.uint8 and mask.max() < 3 for mask in masks)
    again = [row["mask"] for row in model.predict(batch)]
    assert all(torch.equal(mask, other) for mask, other in zip(masks, again, strict=True))


@pytest.mark.parametrize("head", HEADS)
def test_a_single_row_trains_where_a_map_is_a_single_cell(head: str) -> None:
    module = head_of(head, backbone_of("vit_b_32")).train()
    features = {
        "map32": torch.randn(1, 768, 1, 1),
        "size": torch.tensor([[32, 20]]),
        "canvas": torch.empty(1, 0, 32, 32),
    }
    mask = torch.zeros(1, 32, 32, dtype=torch.uint8)
    module.loss(features, {"mask": mask})["ce"].backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)


def test_a_single_value_a_channel_leaves_the_running_statistics_and_more_move_them() -> None:
    norm = SteadyBatchNorm2d(4).train()
    norm(torch.randn(1, 4, 1, 1))
    assert not norm.running_mean.any() and norm.num_batches_tracked == 0
    values = torch.randn(2, 4, 1, 1)
    plain = nn.BatchNorm2d(4).train()
    assert torch.equal(norm(values), plain(values)) and torch.equal(norm.running_mean, plain.running_mean)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("loss", ["ce", "focal", "dice", "ce+dice"])
def test_a_few_steps_fit_two_pictures(head: str, loss: str) -> None:
    backbone = Colours()
    model = Model(backbone, head_of(head, backbone, loss=loss, stride=8)).train()
    pixels = torch.full((2, 3, 64, 64), 40, dtype=torch.uint8)
    mask = torch.zeros(2, 64, 64, dtype=torch.uint8)
    for row, column, index in ((0, 0, 1), (0, 32, 2), (1, 16, 1)):
        pixels[row, index, 8:40, column : column + 24] = 220
        mask[row, 8:40, column : column + 24] = index
    mask[1, 60:] = 255
    sides = torch.tensor([[64, 64], [60, 64]])
    canvas = torch.empty(2, 0, 64, 64)
    batch = Batch(
        torch.arange(2), {"pixels": pixels, "size": sides, "original": sides, "canvas": canvas}, {"mask": mask}
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    counts, losses = model.head.counts(batch.targets), []
    for _ in range(40):
        optimizer.zero_grad()
        total = torch.stack([value / counts[name] for name, value in model(batch).items()]).sum()
        total.backward()
        optimizer.step()
        losses.append(total.item())
    assert losses[-1] < 0.3 * losses[0]
    found = torch.cat([row["mask"].flatten() for row in model.predict(batch)])
    truth = torch.cat([mask[0].flatten(), mask[1, :60].flatten()])
    assert (found == truth).float().mean() > 0.9


def test_a_mask_is_the_argmax_of_the_canvas_cut_to_the_picture_where_nothing_was_resized() -> None:
    logits = torch.randn(5, 19, 27)
    values = functional.interpolate(logits[None], size=(80, 112), mode="bilinear", align_corners=False)[0]
    mask = mask_of(logits, (70, 101), (70, 101), (80, 112))
    assert (mask == values.argmax(0)[:70, :101]).float().mean() > 0.999


def test_a_resized_picture_s_mask_lies_where_the_picture_lay() -> None:
    # An edge at a third of the picture's width, which fills three quarters of the canvas.
    logits = torch.zeros(2, 16, 16)
    logits[1] = torch.linspace(-8, 8, 16) + 4.5
    mask = mask_of(logits, (48, 48), (96, 120), (64, 64))
    assert mask.shape == (96, 120)
    # Zero at cell 3.28, whose centre is 15.1 of 64 pixels in the canvas, so 37.8 of 120 in the original.
    assert torch.equal(mask, (torch.arange(120) + 0.5 > 37.8).to(torch.uint8).expand(96, 120))


def test_bands_of_rows_give_the_mask_of_the_whole() -> None:
    logits = torch.randn(7, 9, 11)
    sides = (31, 40), (57, 83), (32, 64)
    assert torch.equal(mask_of(logits, *sides, band=1), mask_of(logits, *sides))


def test_a_mean_runs_over_the_picture_and_not_over_its_padding() -> None:
    values = torch.randn(2, 3, 4, 6)
    size = torch.tensor([[32, 48], [20, 24]])
    features = {"map8": values, "size": size, "canvas": torch.empty(2, 0, 32, 48)}
    mean = mean_of_picture(features, "map8")
    assert torch.allclose(mean[0], values[0].mean(dim=(1, 2), keepdim=True), atol=1e-6)
    # 20 of 32 pixels are two cells and a half.
    part = (values[1, :, 0, :3] + values[1, :, 1, :3] + 0.5 * values[1, :, 2, :3]).sum(-1) / 7.5
    assert torch.allclose(mean[1, :, 0, 0], part, atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_a_wider_canvas_hardly_changes_what_a_trained_head_says_of_the_picture(head: str) -> None:
    backbone = Colours()
    module = head_of(head, backbone, stride=8, reach=8).eval()
    maps = {"map4": torch.randn(1, 16, 32, 32), "map8": torch.randn(1, 32, 16, 16)}
    wider = {name: functional.pad(values, (0, values.shape[3] // 2), value=9.0) for name, values in maps.items()}
    size = torch.tensor([[128, 128]])
    small = module.logits(maps | {"size": size, "canvas": torch.empty(1, 0, 128, 128)})
    large = module.logits(wider | {"size": size, "canvas": torch.empty(1, 0, 128, 192)})
    inside = small.shape[-1] // 2
    assert torch.allclose(small[..., :inside], large[..., :inside], atol=1e-4)


def test_a_head_takes_the_coarsest_map_that_it_may_and_the_finest_where_none_is_fine_enough() -> None:
    maps = {"map4": 1, "map16": 1, "map32": 1, "pooled": 1}
    assert [coarsest(maps, limit) for limit in (64, 32, 31, 8, 2)] == [32, 32, 16, 4, 4]
    backbone = backbone_of("resnet18")
    assert head_of("deeplabv3", backbone, stride=16).needs == {"map16"}
    assert head_of("fcn", backbone, stride=8).needs == {"map8"}


def test_the_atrous_rates_reach_as_far_in_the_picture_at_every_stride() -> None:
    backbone = backbone_of("resnet18")
    for stride, rates in ((32, [3, 6, 9]), (16, [6, 12, 18]), (8, [12, 24, 36])):
        head = head_of("deeplabv3", backbone, stride=stride)
        found = [m.dilation[0] for m in head.modules() if isinstance(m, nn.Conv2d) and m.dilation[0] > 1]
        assert found == rates


def test_a_backbone_without_maps_is_refused_by_what_it_provides() -> None:
    backbone = Colours()
    backbone.provides = {"pooled": 8, "tokens": 8}
    with pytest.raises(UsageError, match="pooled, tokens"):
        head_of("fcn", backbone)


def test_more_classes_than_a_byte_holds_are_refused() -> None:
    build, own = HEADS["fcn"]
    facts = {"classes": [str(index) for index in range(256)], "train_counts": [1] * 256}
    with pytest.raises(DataError, match="256 classes"):
        build(Spec("fcn", PLAIN | own), Colours(), facts)


@pytest.mark.parametrize("head", HEADS)
def test_a_head_computes_its_loss_in_float32_within_autocast(head: str) -> None:
    backbone = Colours()
    model = Model(backbone, head_of(head, backbone, stride=8)).train()
    with torch.autocast("cpu", torch.bfloat16):
        sums = model(batch_of(2))
    assert sums["ce"].dtype == torch.float32
    sums["ce"].backward()
