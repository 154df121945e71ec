"""graftwork's public checks on the degrees of fine-tuning, exactly as a stranger's plugin runs them."""

from __future__ import annotations

from graftwork.testing import PluginConformance, StrategyConformance


class TestLinearProbe(StrategyConformance):
    strategy = "linear-probe"


class TestPartial(StrategyConformance):
    strategy = "partial:2"


class TestFull(StrategyConformance):
    strategy = "full"


class TestLayerwise(StrategyConformance):
    strategy = "layerwise"


class TestGradual(StrategyConformance):
    strategy = "gradual"


class TestLpFt(StrategyConformance):
    strategy = "lp-ft"


class TestL2Sp(StrategyConformance):
    strategy = "l2-sp"


class TestLora(StrategyConformance):
    strategy = "lora"


class TestBitFit(StrategyConformance):
    strategy = "bitfit"


class TestScratch(StrategyConformance):
    strategy = "scratch"


class TestPackage(PluginConformance):
    plugin = "graftwork-strategies"
