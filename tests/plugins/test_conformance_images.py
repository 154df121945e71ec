"""graftwork's public checks on image classification, exactly as a stranger's plugin runs them.

The families of backbones are checked in test_image_backbones.
"""

from __future__ import annotations

from graftwork.testing import DatasetConformance, HeadConformance, PluginConformance, TaskConformance


class TestImageClassification(TaskConformance):
    task = "image-classification"


class TestLinear(HeadConformance):
    head = "linear"


class TestMlp(HeadConformance):
    head = "mlp"


class TestCosine(HeadConformance):
    head = "cosine"


class TestDigits(DatasetConformance):
    dataset = "digits"


class TestImages(PluginConformance):
    plugin = "graftwork-images"
    backbones = ("graftnet-s", "squeezenet1_1", "resnet18")  # test_image_backbones builds the others


class TestHeads(PluginConformance):
    plugin = "graftwork-heads"
