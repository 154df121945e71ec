"""The degrees of fine-tuning that come with graftwork, one file each, registered like any plugin's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from graftwork.hookspecs import hookimpl

if TYPE_CHECKING:
    from graftwork.interfaces import StrategyBuilder


@hookimpl
def graftwork_strategies() -> Mapping[str, StrategyBuilder]:
    from graftwork.strategies import (
        bitfit,
        full,
        gradual,
        l2_sp,
        layerwise,
        linear_probe,
        lora,
        lp_ft,
        partial,
        scratch,
    )

    return {
        "linear-probe": linear_probe.build,
        "partial": partial.build,
        "full": full.build,
        "layerwise": layerwise.build,
        "gradual": gradual.build,
        "lp-ft": lp_ft.build,
        "l2-sp": l2_sp.build,
        "lora": lora.build,
        "bitfit": bitfit.build,
        "scratch": scratch.build,
    }
