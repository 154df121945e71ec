"""graftwork's public checks on detection, exactly as a stranger's plugin runs them."""

from __future__ import annotations

import pytest

from graftwork.testing import DatasetConformance, HeadConformance, PluginConformance, TaskConformance


class TestDetection(TaskConformance):
    task = "detection"


class TestRetinaNet(HeadConformance):
    head = "retinanet"


@pytest.mark.acceptance
class TestFcos(HeadConformance):
    head = "fcos"


class TestFasterRcnn(HeadConformance):
    head = "faster-rcnn"


class TestSsdLite(HeadConformance):
    head = "ssdlite"


@pytest.mark.acceptance
class TestDigitScenes(DatasetConformance):
    dataset = "digit-scenes"


class TestPackage(PluginConformance):
    plugin = "graftwork-detection"
