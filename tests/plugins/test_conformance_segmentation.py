"""graftwork's public checks on segmentation, exactly as a stranger's plugin runs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from graftwork.interfaces import Facts
from graftwork.testing import DatasetConformance, HeadConformance, PluginConformance, TaskConformance
from graftwork_segmentation.decode import read_mask
from graftwork_segmentation.masks import decode_mask


class TestSegmentation(TaskConformance):
    task = "segmentation"

    def agrees(self, decoded: Mapping[str, Any], row: Mapping[str, Any], facts: Facts) -> str | None:
        said, true = read_mask(decoded), decode_mask(row["mask"], row["mask_map"])
        if said is None or said.shape != true.shape:
            return "a mask of another size"
        apart = int((said != true)[true < len(facts["classes"])].sum())
        return f"{apart} pixels have another class" if apart else None


class TestFpn(HeadConformance):
    head = "fpn"
    learns = 0.4  # mean IoU of thin digits, from maps of a stride of 2 to 8


@pytest.mark.acceptance
class TestDeepLab(HeadConformance):
    head = "deeplabv3"
    learns = 0.4  # mean IoU of thin digits, from maps of a stride of 2 to 8
    options: ClassVar[Mapping[str, Any]] = {"width": 32}


@pytest.mark.acceptance
class TestLraspp(HeadConformance):
    head = "lraspp"
    learns = 0.4  # mean IoU of thin digits, from maps of a stride of 2 to 8


@pytest.mark.acceptance
class TestFcn(HeadConformance):
    head = "fcn"
    learns = 0.4  # mean IoU of thin digits, from maps of a stride of 2 to 8


@pytest.mark.acceptance
class TestDigitMasks(DatasetConformance):
    dataset = "digit-masks"


class TestPackage(PluginConformance):
    plugin = "graftwork-segmentation"
