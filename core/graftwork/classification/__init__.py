"""What every classification has in common, whatever is classified: heads, losses, metrics, report sections.

A library for plugins of tasks, and itself the plugin `graftwork-heads`; the engine knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from graftwork.hookspecs import hookimpl

if TYPE_CHECKING:
    from graftwork.interfaces import HeadBuilder


@hookimpl
def graftwork_heads() -> Mapping[str, HeadBuilder]:
    from graftwork.classification import attention, heads

    return {
        "linear": heads.build_linear,
        "mlp": heads.build_mlp,
        "cosine": heads.build_cosine,
        "attention": attention.build,
    }
