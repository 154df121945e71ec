"""The heads of semantic segmentation, one file each, on the maps of any image backbone.

Importing this imports torch: hook bodies do, the plugin's `__init__` does not.
"""

from __future__ import annotations

from collections.abc import Mapping

from graftwork.interfaces import HeadBuilder
from graftwork_segmentation.heads import deeplabv3, fcn, fpn, lraspp

BUILDERS: Mapping[str, HeadBuilder] = {
    "deeplabv3": deeplabv3.build,
    "fcn": fcn.build,
    "fpn": fpn.build,
    "lraspp": lraspp.build,
}
"""Catalogue name to builder."""
