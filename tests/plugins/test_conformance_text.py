"""graftwork's public checks on text classification, exactly as a stranger's plugin runs them.

The families of backbones are checked in test_text_backbones.
"""

from __future__ import annotations

from graftwork.testing import DatasetConformance, HeadConformance, PluginConformance, TaskConformance


class TestTextClassification(TaskConformance):
    task = "text-classification"


class TestLinear(HeadConformance):
    head = "linear"
    task = "text-classification"


class TestAttention(HeadConformance):
    head = "attention"
    task = "text-classification"


class TestMessages(DatasetConformance):
    dataset = "messages"


class TestText(PluginConformance):
    plugin = "graftwork-text"
    backbones = ("graftext-s", "transformers")  # test_text_backbones builds the others
